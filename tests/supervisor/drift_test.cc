#include "supervisor/drift.h"

#include <algorithm>
#include <cmath>

#include "supervisor/states.h"

namespace fieldprint::test {
namespace {

// The exact solution of de = -k e dt + s e dW at spacing h.
std::vector<double> simulate(std::uint64_t seed, double k, double s, double h, int increments,
                             double start = 0.01) {
  std::mt19937_64 rng(seed);
  std::normal_distribution<double> normal;
  std::vector<double> e{start};
  for (int i = 0; i < increments; ++i) {
    e.push_back(e.back() * std::exp(-(k + s * s / 2) * h + s * std::sqrt(h) * normal(rng)));
  }
  return e;
}

struct Moments {
  double mean = 0;
  double sd = 0;
};
Moments moments(const std::vector<double>& values) {
  Moments m;
  for (const double v : values) m.mean += v / static_cast<double>(values.size());
  for (const double v : values) m.sd += (v - m.mean) * (v - m.mean);
  m.sd = std::sqrt(m.sd / static_cast<double>(values.size() - 1));
  return m;
}

// Four increments of known mean and variance, repeated: the formulas by hand.
TEST(DriftTest, ClosedForm) {
  std::vector<double> e{1.0};
  for (int i = 0; i < 20; ++i) {
    for (const double x : {-0.3, -0.1, -0.3, -0.1}) e.push_back(e.back() * std::exp(x));
  }
  const auto fit = must(fit_drift(e, 2.0));
  const double variance = 0.01 * 80.0 / 79.0;
  EXPECT_EQ(fit.increments, 80U);
  EXPECT_DOUBLE_EQ(fit.duration, 160.0);
  EXPECT_NEAR(fit.s2, variance / 2, 1e-12);
  EXPECT_NEAR(fit.k, 0.1 - variance / 4, 1e-12);
  EXPECT_NEAR(fit.margin, fit.k - fit.s2 / 2, 1e-12);
  EXPECT_NEAR(fit.k_error, std::sqrt(fit.s2 / 160 + fit.s2 * fit.s2 / (2 * 79)), 1e-12);
  EXPECT_NEAR(fit.margin_error, std::sqrt(fit.s2 / 160 + 2 * fit.s2 * fit.s2 / 79), 1e-12);
  EXPECT_FALSE(fit.residuals.acceptable);  // alternating increments are no noise
  EXPECT_LT(fit.residuals.lag1, -5);
  EXPECT_FALSE(fit.mean_square_stable());
}

// Over 400 sessions the estimates scatter as their stated errors say, and the 95 % bound holds in
// about 95 % of them.
TEST(DriftTest, ErrorsAreAsLargeAsStated) {
  constexpr double kK = 0.05;
  constexpr double kS = 0.2;
  std::vector<double> k;
  std::vector<double> s2;
  std::vector<double> margin;
  int covered = 0;
  int acceptable = 0;
  DriftFit last;
  for (std::uint64_t run = 0; run < 400; ++run) {
    last = must(fit_drift(simulate(run, kK, kS, 1.0, 200, 1e-3), 1.0));
    k.push_back(last.k);
    s2.push_back(last.s2);
    margin.push_back(last.margin);
    covered += last.margin_bound <= kK - kS * kS / 2 ? 1 : 0;
    acceptable += last.residuals.acceptable ? 1 : 0;
  }
  // A mean of 400 is within 4 standard errors; a standard deviation of 400 within 15 %.
  EXPECT_NEAR(moments(k).mean, kK, 4 * last.k_error / 20);
  EXPECT_NEAR(moments(s2).mean, kS * kS, 4 * last.s2_error / 20);
  EXPECT_NEAR(moments(k).sd / std::sqrt(kS * kS / 200 + std::pow(kS, 4) / 398), 1, 0.15);
  EXPECT_NEAR(moments(s2).sd / std::sqrt(2 * std::pow(kS, 4) / 199), 1, 0.15);
  EXPECT_NEAR(moments(margin).sd / std::sqrt(kS * kS / 200 + 2 * std::pow(kS, 4) / 199), 1, 0.15);
  EXPECT_NEAR(covered / 400.0, 0.95, 0.04);
  EXPECT_GE(acceptable, 390);
}

// k = -0.3, s = 1: every path goes to zero and yet E e^2 explodes. No such session may pass.
TEST(DriftTest, VanishingPathsWithExplodingMeanSquareDoNotPass) {
  int claimed = 0;
  int vanished = 0;
  for (std::uint64_t run = 0; run < 200; ++run) {
    const auto e = simulate(run + 3000, -0.3, 1.0, 1.0, 400, 1.0);
    vanished += e.back() < 1e-3 ? 1 : 0;
    std::vector<double> angles = e;  // paths leave the angles' range; the estimator sees ratios
    const double top = *std::max_element(angles.begin(), angles.end());
    for (double& a : angles) a *= 3.0 / top;
    claimed += must(fit_drift(angles, 1.0)).mean_square_stable() ? 1 : 0;
  }
  EXPECT_GE(vanished, 195);
  EXPECT_EQ(claimed, 0);
}

TEST(DriftTest, ClearRestoringForcePasses) {
  int claimed = 0;
  for (std::uint64_t run = 0; run < 100; ++run) {
    claimed += must(fit_drift(simulate(run, 0.2, 0.2, 1.0, 100, 1.0), 1.0)).mean_square_stable();
  }
  EXPECT_GE(claimed, 97);
}

// Sampling the same 50 units of time ten times as often leaves the error of k where it was.
TEST(DriftTest, FasterSamplingDoesNotHelp) {
  const auto slow = must(fit_drift(simulate(1, 0.05, 0.2, 1.0, 50), 1.0));
  const auto fast = must(fit_drift(simulate(1, 0.05, 0.2, 0.1, 500), 0.1));
  EXPECT_NEAR(fast.k_error / slow.k_error, 1.0, 0.25);
  EXPECT_LT(fast.s2_error, 0.6 * slow.s2_error);
}

// An angle with a floor returns to a level, not to zero. The residuals say so.
TEST(DriftTest, ResidualsRefuseAFloorAndHeavyTails) {
  int floor_accepted = 0;
  int tails_accepted = 0;
  for (std::uint64_t run = 0; run < 50; ++run) {
    std::mt19937_64 rng(run);
    std::normal_distribution<double> normal;
    std::vector<double> floor{0.5};
    std::vector<double> tails{0.5};
    double x = 0;
    for (int i = 0; i < 200; ++i) {
      x = 0.7 * x + 0.1 * normal(rng);
      floor.push_back(0.5 * std::exp(x));
      const double jump = i % 40 == 20 ? 0.5 : 0.02;
      tails.push_back(tails.back() * std::exp(jump * normal(rng)));
    }
    for (double& e : tails) e = std::min(e * 0.1, 3.0);
    floor_accepted += must(fit_drift(floor, 1.0)).residuals.acceptable ? 1 : 0;
    tails_accepted += must(fit_drift(tails, 1.0)).residuals.acceptable ? 1 : 0;
  }
  EXPECT_LE(floor_accepted, 5);
  EXPECT_LE(tails_accepted, 2);
}

TEST(DriftTest, PoolsSessionsWithoutCrossingThem) {
  const auto a = simulate(1, 0.1, 0.1, 1.0, 30, 1.0);
  const auto b = simulate(2, 0.1, 0.1, 1.0, 30, 0.001);
  const std::span<const double> sessions[] = {a, b};
  const auto pooled = must(fit_drift_pooled(sessions, 1.0));
  EXPECT_EQ(pooled.increments, 60U);
  const double mean_of_two = (must(fit_drift(a, 1.0)).s2 + must(fit_drift(b, 1.0)).s2) / 2;
  EXPECT_NEAR(pooled.s2, mean_of_two, 0.3 * mean_of_two);
}

TEST(DriftTest, RefusesWhatTellsNothing) {
  const auto code = [](const std::vector<double>& e, double h) {
    const auto fit = fit_drift(e, h);
    return fit ? std::string("fitted") : fit.error().code;
  };
  EXPECT_EQ(code(simulate(1, 0.1, 0.1, 1, 16), 1), "fitted");
  EXPECT_EQ(code(simulate(1, 0.1, 0.1, 1, 15), 1), "drift_too_few");
  EXPECT_EQ(code({}, 1), "drift_too_few");
  auto e = simulate(1, 0.1, 0.1, 1, 20);
  EXPECT_EQ(code(e, 0), "drift_angle_invalid");
  EXPECT_EQ(code(e, std::nan("")), "drift_angle_invalid");
  for (const double bad : {0.0, -0.1, 3.2, std::nan("")}) {
    e[7] = bad;
    EXPECT_EQ(code(e, 1), "drift_angle_invalid");
  }
  EXPECT_EQ(code(std::vector<double>(40, 0.3), 1), "drift_no_noise");
  EXPECT_EQ(code(simulate(1, 0.1, 0.0, 1, 40, 1.0), 1), "drift_no_noise");
}

}  // namespace
}  // namespace fieldprint::test
