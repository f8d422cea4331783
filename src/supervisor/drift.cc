#include "supervisor/drift.h"

#include <cmath>
#include <numbers>
#include <string>
#include <vector>

namespace fieldprint {
namespace {

constexpr double kOneSided95 = 1.6448536269514722;
constexpr double kTwoSided01 = 3.2905267314919255;  // 0.1 %
constexpr double kLevelLimit = 4.5;

struct Increments {
  std::vector<double> x;
  std::vector<double> level;        // ln e before each increment
  std::vector<std::size_t> starts;  // first increment of each session
};

Status collect(std::span<const double> angles, Increments& out) {
  out.starts.push_back(out.x.size());
  for (std::size_t i = 0; i < angles.size(); ++i) {
    if (!(angles[i] > 0 && angles[i] <= std::numbers::pi)) {
      return fail(ErrorKind::kInvalid, "drift_angle_invalid",
                  "angle " + std::to_string(i) + " is not in (0, pi]");
    }
    if (i == 0) continue;
    out.x.push_back(std::log(angles[i] / angles[i - 1]));
    out.level.push_back(std::log(angles[i - 1]));
  }
  return {};
}

double mean_of(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return sum / static_cast<double>(values.size());
}

// Mean of (v - mean)^power.
double central_moment(const std::vector<double>& values, double mean, int power) {
  double sum = 0;
  for (const double v : values) sum += std::pow(v - mean, power);
  return sum / static_cast<double>(values.size());
}

DriftResiduals check_residuals(const Increments& in, double mean, double variance) {
  const auto n = static_cast<double>(in.x.size());
  DriftResiduals r;
  r.skewness = central_moment(in.x, mean, 3) / std::pow(variance, 1.5) / std::sqrt(6 / n);
  r.kurtosis = (central_moment(in.x, mean, 4) / (variance * variance) - 3) / std::sqrt(24 / n);
  double lagged = 0;
  std::size_t session = 0;
  for (std::size_t i = 1; i < in.x.size(); ++i) {
    while (session + 1 < in.starts.size() && in.starts[session + 1] <= i) ++session;
    if (in.starts[session] == i) continue;  // no pair across sessions
    lagged += (in.x[i] - mean) * (in.x[i - 1] - mean);
  }
  r.lag1 = std::sqrt(n) * lagged / (n * variance);
  const double level_mean = mean_of(in.level);
  const double level_variance = central_moment(in.level, level_mean, 2);
  double product = 0;
  for (std::size_t i = 0; i < in.x.size(); ++i) {
    product += (in.x[i] - mean) * (in.level[i] - level_mean);
  }
  r.level =
      level_variance > 0 ? std::sqrt(n) * product / (n * std::sqrt(variance * level_variance)) : 0;
  r.acceptable = std::fabs(r.lag1) <= kTwoSided01 && std::fabs(r.skewness) <= kTwoSided01 &&
                 std::fabs(r.kurtosis) <= kTwoSided01 && std::fabs(r.level) <= kLevelLimit;
  return r;
}

Result<DriftFit> fit(const Increments& in, double spacing) {
  if (!(spacing > 0 && std::isfinite(spacing))) {
    return fail(ErrorKind::kInvalid, "drift_angle_invalid", "the spacing is not positive");
  }
  if (in.x.size() < kDriftMinIncrements) {
    return fail(ErrorKind::kInvalid, "drift_too_few",
                "drift needs " + std::to_string(kDriftMinIncrements) + " increments, got " +
                    std::to_string(in.x.size()));
  }
  const auto n = static_cast<double>(in.x.size());
  const double mean = mean_of(in.x);
  const double moment = central_moment(in.x, mean, 2);
  // Rounding of equal increments leaves about 1e-32 of their square.
  if (!(moment > 1e-24 * (1 + mean * mean))) {
    return fail(ErrorKind::kInvalid, "drift_no_noise",
                "all increments are equal: nothing can be said about noise");
  }
  DriftFit f;
  f.increments = in.x.size();
  f.duration = n * spacing;
  f.s2 = moment * n / (n - 1) / spacing;
  f.k = -mean / spacing - f.s2 / 2;
  f.margin = -mean / spacing - f.s2;
  const double from_mean = f.s2 / f.duration;
  const double from_variance = f.s2 * f.s2 / (n - 1);
  f.s2_error = std::sqrt(2 * from_variance);
  f.k_error = std::sqrt(from_mean + from_variance / 2);
  f.margin_error = std::sqrt(from_mean + 2 * from_variance);
  f.margin_bound = f.margin - kOneSided95 * f.margin_error;
  f.residuals = check_residuals(in, mean, moment);
  return f;
}

}  // namespace

Result<DriftFit> fit_drift(std::span<const double> angles, double spacing) {
  Increments increments;
  FP_TRY(collect(angles, increments));
  return fit(increments, spacing);
}

Result<DriftFit> fit_drift_pooled(std::span<const std::span<const double>> sessions,
                                  double spacing) {
  Increments increments;
  for (const std::span<const double> session : sessions) FP_TRY(collect(session, increments));
  return fit(increments, spacing);
}

}  // namespace fieldprint
