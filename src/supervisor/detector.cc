#include "supervisor/detector.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <type_traits>

namespace fieldprint {
namespace {

static_assert(std::is_trivially_copyable_v<DetectorState>);

constexpr double kSaturation = 1e150;
constexpr double kBetShares[] = {0.125, 0.25, 0.5, 0.875};
constexpr std::size_t kMinSessions = 8;
constexpr double kOneSided95 = 1.6448536269514722;
constexpr double kSmallestBound = 0.01;
constexpr double kLargestBound = 0.5;

tl::unexpected<Error> bad_settings(const std::string& what) {
  return fail(ErrorKind::kInvalid, "detector_settings_invalid", "detector settings: " + what);
}

tl::unexpected<Error> bad_calibration(const std::string& what) {
  return fail(ErrorKind::kInvalid, "detector_calibration_invalid", "detector calibration: " + what);
}

double quantile(std::vector<double> values, double share) {
  const auto at = static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<std::size_t>(at)];
}

Result<std::vector<double>> all_angles(std::span<const std::vector<double>> sessions) {
  if (sessions.size() < kMinSessions) return bad_calibration("fewer than 8 healthy sessions");
  std::vector<double> all;
  for (const std::vector<double>& session : sessions) {
    if (session.empty()) return bad_calibration("a session without angles");
    for (const double angle : session) {
      if (!(angle >= 0 && angle <= std::numbers::pi)) {
        return bad_calibration("an angle outside 0..pi");
      }
      all.push_back(angle);
    }
  }
  return all;
}

}  // namespace

double score_of(const AngleScore& map, double angle) {
  if (std::isnan(angle)) return 1.0;
  return std::clamp((angle - map.low) / (map.high - map.low), 0.0, 1.0);
}

Status check_detector_settings(const DetectorSettings& s) {
  if (!(s.mean_bound > 0 && s.mean_bound < 1)) return bad_settings("m0 is not between 0 and 1");
  if (!(s.alpha > 1e-100 && s.alpha < 1)) return bad_settings("alpha is not between 0 and 1");
  if (s.bet_count < 1 || s.bet_count > kMaxBets) return bad_settings("1 to 8 bets are possible");
  double sum = 0;
  for (std::size_t k = 0; k < s.bet_count; ++k) {
    if (!(s.bets[k] > 0 && s.bets[k] * s.mean_bound < 1)) {
      return bad_settings("a bet is not between 0 and 1/m0");
    }
    if (!(s.weights[k] > 0)) return bad_settings("a weight is not positive");
    sum += s.weights[k];
  }
  if (!(std::fabs(sum - 1) <= 1e-12)) return bad_settings("the weights' sum is not 1");
  return {};
}

Result<DetectorSettings> make_detector_settings(double mean_bound, double alpha) {
  DetectorSettings settings;
  settings.mean_bound = mean_bound;
  settings.alpha = alpha;
  for (const double share : kBetShares) {
    settings.bets[settings.bet_count] = share / mean_bound;
    settings.weights[settings.bet_count] = 1.0 / std::size(kBetShares);
    ++settings.bet_count;
  }
  FP_TRY(check_detector_settings(settings));
  return settings;
}

DetectorReading detector_step(const DetectorSettings& settings, DetectorState& state,
                              double score) {
  if (!(score >= 0 && score <= 1)) score = 1;
  DetectorReading reading;
  double strongest = -1;
  for (std::size_t k = 0; k < settings.bet_count; ++k) {
    const double l = 1 + settings.bets[k] * (score - settings.mean_bound);
    const double product = state.segments == 0 ? 1 : state.products[k];
    state.sums[k] = std::min((state.sums[k] + 1) * l, kSaturation);
    state.products[k] = std::min(product * l, kSaturation);
    if (state.runs[k] <= 1) {
      state.runs[k] = 1;
      state.run_starts[k] = state.segments;
    }
    state.runs[k] = std::min(state.runs[k] * l, kSaturation);
    reading.evidence += settings.weights[k] * state.sums[k];
    reading.session_evidence += settings.weights[k] * state.products[k];
    if (settings.weights[k] * state.runs[k] > strongest) {
      strongest = settings.weights[k] * state.runs[k];
      reading.change = state.run_starts[k];
    }
  }
  ++state.segments;
  reading.alarm = reading.evidence >= 1 / settings.alpha;
  if (reading.session_evidence >= 1 / settings.alpha) state.session_alarm = true;
  reading.session_alarm = state.session_alarm;
  return reading;
}

bool cusum_step(const CusumSettings& settings, CusumState& state, double score) {
  if (!(score >= 0 && score <= 1)) score = 1;
  state.sum = std::max(0.0, state.sum + score - settings.reference);
  return state.sum >= settings.limit;
}

Result<DetectorCalibration> calibrate_detector(std::span<const std::vector<double>> sessions,
                                               double low_quantile, double spread) {
  if (!(low_quantile > 0.5 && low_quantile < 1) || !(spread > 0 && std::isfinite(spread))) {
    return bad_calibration("low_quantile must be between 0.5 and 1, spread positive");
  }
  FP_ASSIGN(const std::vector<double> all, all_angles(sessions));
  DetectorCalibration made;
  made.sessions = sessions.size();
  made.segments = all.size();
  made.map.low = quantile(all, low_quantile);
  made.map.high =
      std::min(made.map.low + spread * (made.map.low - quantile(all, 0.5)), std::numbers::pi);
  if (!(made.map.high > made.map.low)) return bad_calibration("the angles do not vary");
  const auto n = static_cast<double>(sessions.size());
  double sum = 0;
  double squares = 0;
  for (const std::vector<double>& session : sessions) {
    double mean = 0;
    for (const double angle : session) mean += score_of(made.map, angle);
    mean /= static_cast<double>(session.size());
    sum += mean;
    squares += mean * mean;
  }
  made.mean = sum / n;
  const double variance = std::max(0.0, squares - n * made.mean * made.mean) / (n - 1);
  made.mean_bound = std::max(kSmallestBound, made.mean + kOneSided95 * std::sqrt(variance / n));
  if (made.mean_bound >= kLargestBound) return bad_calibration("healthy scores of 1/2 and more");
  return made;
}

}  // namespace fieldprint
