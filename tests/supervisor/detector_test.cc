#include "supervisor/detector.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numbers>

#include "supervisor/states.h"

namespace fieldprint::test {
namespace {

constexpr double kMean = 0.1;  // m0 of the sources below

double uniform(std::mt19937_64& rng) { return static_cast<double>(rng() >> 11) * 0x1p-53; }

// Healthy scores whose conditional mean is exactly m0, and which depend on their past strongly:
// rare large ones after a quiet stretch, frequent small ones after a busy one.
class DependentScores {
 public:
  explicit DependentScores(std::uint64_t seed) : rng_(seed) {}
  double next() {
    const double q = kMean + (1 - kMean) * level_;  // in [m0, 1]
    const double x = uniform(rng_) < q ? kMean / q : 0;
    level_ = 0.97 * level_ + 0.03 * (uniform(rng_) < 0.3 ? 1 : 0);
    return x;
  }

 private:
  std::mt19937_64 rng_;
  double level_ = 0;
};

// Autoregressive scores: X_t = a X_(t-1) + (1-a) V_t with V_t = 0 or v, so E[X_t | past] <=
// a v + (1-a) p v = m0.
class AutoregressiveScores {
 public:
  explicit AutoregressiveScores(std::uint64_t seed) : rng_(seed) {}
  double next() {
    x_ = kA * x_ + (1 - kA) * (uniform(rng_) < kP ? kV : 0);
    return x_;
  }
  static constexpr double kA = 0.8;
  static constexpr double kP = 0.5;
  static constexpr double kV = kMean / (kA + (1 - kA) * kP);

 private:
  std::mt19937_64 rng_;
  double x_ = 0;
};

// Segments until `alarm` is true, or `horizon`.
template <typename Source>
std::uint32_t run_length(Source source, std::uint32_t horizon,
                         const std::function<bool(double)>& alarm) {
  for (std::uint32_t t = 1; t <= horizon; ++t) {
    if (alarm(source.next())) return t;
  }
  return horizon;
}

template <typename Source>
std::vector<std::uint32_t> e_run_lengths(double alpha, int runs, std::uint32_t horizon) {
  const auto settings = must(make_detector_settings(kMean, alpha));
  std::vector<std::uint32_t> lengths;
  for (int i = 0; i < runs; ++i) {
    DetectorState state;
    lengths.push_back(run_length(Source(static_cast<std::uint64_t>(i) + 1), horizon, [&](double x) {
      return detector_step(settings, state, x).alarm;
    }));
  }
  return lengths;
}

double mean_of(const std::vector<std::uint32_t>& values) {
  double sum = 0;
  for (const std::uint32_t v : values) sum += v;
  return sum / static_cast<double>(values.size());
}

// E[tau] >= 1/alpha, whatever the dependence. Capping at the horizon only lowers the mean.
template <typename Source>
void expect_run_length(const char* name) {
  const auto lengths = e_run_lengths<Source>(0.02, 2000, 3000);
  const double mean = mean_of(lengths);
  ::testing::Test::RecordProperty(name, std::to_string(mean));
  EXPECT_GE(mean, 50.0) << name;
}

TEST(DetectorTest, MeanRunLengthIsAtLeastOneOverAlpha) {
  expect_run_length<DependentScores>("dependent");
  expect_run_length<AutoregressiveScores>("autoregressive");
}

// P(alarm within T) <= alpha T: M stopped at T has mean <= T, then Markov.
TEST(DetectorTest, EarlyAlarmsAreAsRareAsStated) {
  constexpr double kAlpha = 0.005;
  constexpr std::uint32_t kWithin = 40;
  constexpr int kRuns = 4000;
  const auto lengths = e_run_lengths<DependentScores>(kAlpha, kRuns, kWithin + 1);
  const auto early = std::ranges::count_if(lengths, [&](auto t) { return t <= kWithin; });
  const double bound = kAlpha * kWithin;
  EXPECT_LE(static_cast<double>(early), kRuns * bound + 4 * std::sqrt(kRuns * bound));
  EXPECT_GT(early, 0);  // the data are hard enough to say something
}

// Ville: P(ever) <= alpha for the one-shot test.
TEST(DetectorTest, OneShotAlarmsInFewSessions) {
  constexpr double kAlpha = 0.05;
  constexpr int kRuns = 2000;
  const auto settings = must(make_detector_settings(kMean, kAlpha));
  int alarms = 0;
  for (int i = 0; i < kRuns; ++i) {
    DependentScores source(static_cast<std::uint64_t>(i) + 77);
    DetectorState state;
    DetectorReading reading;
    for (int t = 0; t < 500; ++t) reading = detector_step(settings, state, source.next());
    if (reading.session_alarm) ++alarms;
  }
  EXPECT_LE(alarms, kRuns * kAlpha + 4 * std::sqrt(kRuns * kAlpha * (1 - kAlpha)));
  EXPECT_GT(alarms, 0);
}

// Where the bound is broken the detector has something to say: scores of mean 0.4 or 0.8 after 200
// healthy segments are found, and the change is placed near where it was.
TEST(DetectorTest, FindsAShiftAndSaysWhenItBegan) {
  const auto settings = must(make_detector_settings(kMean, 1e-4));
  // Information of one score: ln(1/alpha) / KL is the least mean delay possible (Lorden 1971).
  for (const double shifted : {0.4, 0.8}) {
    std::vector<double> delays;
    std::vector<double> misplaced;
    for (std::uint64_t run = 0; run < 200; ++run) {
      DependentScores healthy(run + 5);
      std::mt19937_64 rng(run + 9);
      DetectorState state;
      bool early = false;
      for (int t = 0; t < 200; ++t) early |= detector_step(settings, state, healthy.next()).alarm;
      if (early) continue;
      DetectorReading reading;
      int delay = 0;
      while (!reading.alarm && delay < 2000) {
        ++delay;
        reading = detector_step(settings, state, uniform(rng) < shifted ? 1 : 0);
      }
      delays.push_back(delay);
      misplaced.push_back(std::fabs(static_cast<double>(reading.change) - 200));
    }
    ASSERT_GE(delays.size(), 190U);
    std::ranges::sort(delays);
    std::ranges::sort(misplaced);
    const double kl =
        shifted * std::log(shifted / kMean) + (1 - shifted) * std::log((1 - shifted) / (1 - kMean));
    const double least = std::log(1e4) / kl;
    const double median = delays[delays.size() / 2];
    RecordProperty("median_delay_" + std::to_string(shifted), std::to_string(median));
    RecordProperty("p95_delay_" + std::to_string(shifted),
                   std::to_string(delays[delays.size() * 95 / 100]));
    EXPECT_LE(median, 2.5 * least + 1) << "mean " << shifted;
    EXPECT_LE(misplaced[misplaced.size() / 2], 8) << "mean " << shifted;
  }
}

// What "no stated bound" means: a CUSUM set to 50 segments on independent scores alarms much
// sooner on dependent ones of the same mean.
TEST(DetectorTest, CusumHasNoBoundOnDependentScores) {
  struct Independent {
    explicit Independent(std::uint64_t seed) : rng(seed) {}
    double next() { return uniform(rng) < 0.5 ? 2 * kMean : 0; }
    std::mt19937_64 rng;
  };
  const CusumSettings settings{.reference = 1.5 * kMean, .limit = 0.25};
  const auto mean_run = [&](auto make) {
    std::vector<std::uint32_t> lengths;
    for (std::uint64_t i = 1; i <= 1000; ++i) {
      CusumState state;
      lengths.push_back(
          run_length(make(i), 3000, [&](double x) { return cusum_step(settings, state, x); }));
    }
    return mean_of(lengths);
  };
  const double independent = mean_run([](std::uint64_t s) { return Independent(s); });
  const double dependent = mean_run([](std::uint64_t s) { return DependentScores(s); });
  EXPECT_GE(independent, 50.0);
  EXPECT_LT(dependent, 25.0);
}

TEST(DetectorTest, ClosedForms) {
  DetectorSettings settings;
  settings.mean_bound = 0.25;
  settings.alpha = 0.01;
  settings.bets[0] = 2.0;
  settings.weights[0] = 1.0;
  settings.bet_count = 1;
  ASSERT_TRUE(check_detector_settings(settings));
  DetectorState state;
  // L(1) = 2.5, L(0) = 0.5.
  DetectorReading r = detector_step(settings, state, 1);
  EXPECT_DOUBLE_EQ(r.evidence, 2.5);
  EXPECT_DOUBLE_EQ(r.session_evidence, 2.5);
  r = detector_step(settings, state, 0);
  EXPECT_DOUBLE_EQ(r.evidence, 1.75);
  EXPECT_DOUBLE_EQ(r.session_evidence, 1.25);
  r = detector_step(settings, state, 0);
  EXPECT_DOUBLE_EQ(r.evidence, 1.375);
  EXPECT_EQ(r.change, 0U);
  r = detector_step(settings, state, 1);  // the run fell below 1 at segment 2: a new one begins
  EXPECT_EQ(r.change, 3U);
  EXPECT_DOUBLE_EQ(r.session_evidence, 0.625 * 2.5);
  EXPECT_FALSE(r.alarm);
  for (int i = 0; i < 5; ++i) r = detector_step(settings, state, 1);
  EXPECT_TRUE(r.alarm);
  EXPECT_TRUE(r.session_alarm);
  for (int i = 0; i < 50; ++i) r = detector_step(settings, state, 0);
  EXPECT_FALSE(r.alarm);
  EXPECT_TRUE(r.session_alarm);  // "ever" includes before
}

TEST(DetectorTest, StateIsAValueAndStaysFinite) {
  const auto settings = must(make_detector_settings(kMean, 1e-3));
  DetectorState state;
  DependentScores source(1);
  for (int t = 0; t < 30; ++t) (void)detector_step(settings, state, source.next());
  DetectorState copy = state;
  const double expected = detector_step(settings, state, 0.7).evidence;
  EXPECT_EQ(detector_step(settings, copy, 0.7).evidence, expected);
  for (int t = 0; t < 5000; ++t) (void)detector_step(settings, state, 1);
  EXPECT_TRUE(std::isfinite(detector_step(settings, state, 1).evidence));
  DetectorState nan_state;
  DetectorState one_state;
  EXPECT_EQ(detector_step(settings, nan_state, std::nan("")).evidence,
            detector_step(settings, one_state, 1).evidence);
}

TEST(DetectorTest, RefusesSettingsWithoutAGuarantee) {
  EXPECT_FALSE(make_detector_settings(0, 0.01));
  EXPECT_FALSE(make_detector_settings(1, 0.01));
  EXPECT_FALSE(make_detector_settings(0.1, 0));
  EXPECT_FALSE(make_detector_settings(0.1, 1));
  EXPECT_FALSE(make_detector_settings(std::nan(""), 0.01));
  auto settings = must(make_detector_settings(0.1, 0.01));
  settings.bets[1] = 10.0;  // 1/m0: L would reach 0 and below
  EXPECT_EQ(check_detector_settings(settings).error().code, "detector_settings_invalid");
  settings = must(make_detector_settings(0.1, 0.01));
  settings.weights[0] += 0.1;
  EXPECT_FALSE(check_detector_settings(settings));
  settings = must(make_detector_settings(0.1, 0.01));
  settings.bet_count = kMaxBets + 1;
  EXPECT_FALSE(check_detector_settings(settings));
}

TEST(DetectorTest, ScoresAngles) {
  const AngleScore map{0.5, 1.0};
  EXPECT_EQ(score_of(map, 0.2), 0);
  EXPECT_DOUBLE_EQ(score_of(map, 0.75), 0.5);
  EXPECT_EQ(score_of(map, 3.0), 1);
  EXPECT_EQ(score_of(map, std::nan("")), 1);
  EXPECT_TRUE(threshold_alarm(0.9, 0.9));
  EXPECT_TRUE(threshold_alarm(0.9, std::nan("")));
  EXPECT_FALSE(threshold_alarm(0.9, 0.8));
}

// Calibrated on 30 sessions, m0 holds on 300 others of the same kind.
TEST(DetectorTest, CalibrationBoundsTheHealthyMean) {
  const auto session = [](std::uint64_t seed) {
    std::mt19937_64 rng(seed);
    std::normal_distribution<double> normal;
    std::vector<double> angles;
    double x = 0.6 + 0.05 * normal(rng);
    for (int t = 0; t < 40; ++t) {
      x = 0.6 + 0.8 * (x - 0.6) + 0.03 * normal(rng);
      angles.push_back(std::clamp(x, 0.0, std::numbers::pi));
    }
    return angles;
  };
  std::vector<std::vector<double>> sessions;
  for (std::uint64_t s = 0; s < 30; ++s) sessions.push_back(session(s));
  const auto made = must(calibrate_detector(sessions));
  EXPECT_LT(made.mean_bound, 0.1);
  double mean = 0;
  for (std::uint64_t s = 1000; s < 1300; ++s) {
    for (const double angle : session(s)) mean += score_of(made.map, angle) / (300 * 40);
  }
  EXPECT_LE(mean, made.mean_bound);
  EXPECT_FALSE(calibrate_detector(std::span(sessions).first(7)));
  sessions[3][0] = 4;
  EXPECT_EQ(calibrate_detector(sessions).error().code, "detector_calibration_invalid");
  EXPECT_FALSE(calibrate_detector(std::vector(10, std::vector<double>(5, 0.3))));
}

}  // namespace
}  // namespace fieldprint::test
