#include "supervisor/calibration.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/check.h"
#include "supervisor/chain.h"

namespace fieldprint {
namespace {

constexpr double kPi = std::numbers::pi;
constexpr double kMaxMargin = 10;

tl::unexpected<Error> invalid(const std::string& what) {
  return fail(ErrorKind::kInvalid, "calibration_invalid", "calibration: " + what);
}

std::vector<double> descending(std::span<const double> angles) {
  std::vector<double> sorted;
  for (const double angle : angles) sorted.push_back(std::isnan(angle) ? kPi : angle);
  std::ranges::sort(sorted, std::greater<>());
  return sorted;
}

}  // namespace

std::vector<double> segment_angles(const Coherence& coherence, std::span<const float> states) {
  const auto hidden = static_cast<std::size_t>(coherence.recipe().hidden);
  FP_CHECK(states.size() % hidden == 0);
  const std::size_t tokens = states.size() / hidden;
  std::vector<double> angles;
  CoherenceState pooled;
  for (std::size_t t = 0; t < tokens; ++t) {
    coherence.step(pooled, states.subspan(t * hidden, hidden));
    if ((t + 1) % kSegmentTokens != 0 && t + 1 != tokens) continue;
    const CoherenceReading reading = coherence.read(pooled);
    if (reading.ready) angles.push_back(reading.angle);
  }
  return angles;
}

double RocCurve::true_rate_at(double false_rate) const {
  double best = 0;
  for (const RocPoint& point : points) {
    if (point.false_rate <= false_rate) best = std::max(best, point.true_rate);
  }
  return best;
}

Result<RocCurve> roc_curve(std::span<const double> healthy, std::span<const double> other) {
  if (healthy.empty() || other.empty()) return invalid("a group of angles is empty");
  const std::vector<double> good = descending(healthy);
  const std::vector<double> bad = descending(other);
  const auto rate = [](std::size_t count, const std::vector<double>& of) {
    return static_cast<double>(count) / static_cast<double>(of.size());
  };
  RocCurve curve;
  curve.points.push_back({std::nextafter(std::max(good[0], bad[0]), 2 * kPi), 0, 0});
  std::size_t i = 0;
  std::size_t j = 0;
  while (i < good.size() || j < bad.size()) {
    double limit = -1;
    if (i < good.size()) limit = std::max(limit, good[i]);
    if (j < bad.size()) limit = std::max(limit, bad[j]);
    while (i < good.size() && good[i] >= limit) ++i;
    while (j < bad.size() && bad[j] >= limit) ++j;
    const RocPoint point{limit, rate(i, good), rate(j, bad)};
    // Trapezoids: equal angles count half.
    const RocPoint& last = curve.points.back();
    curve.area += (point.false_rate - last.false_rate) * (point.true_rate + last.true_rate) / 2;
    curve.points.push_back(point);
  }
  return curve;
}

Result<AngleLimit> conformal_limit(std::span<const double> healthy, double alpha, double margin) {
  if (healthy.empty()) return invalid("there is no healthy angle");
  if (!(alpha > 0 && alpha < 1)) return invalid("alpha is not between 0 and 1");
  if (!(margin >= 0 && margin <= kMaxMargin)) return invalid("the margin is outside 0..10");
  for (const double angle : healthy) {
    if (!(angle >= 0 && angle <= kPi)) return invalid("a healthy angle is outside 0..pi");
  }
  const std::vector<double> sorted = descending(healthy);
  AngleLimit made;
  made.n = sorted.size();
  const auto places = static_cast<double>(made.n + 1);
  made.k = static_cast<std::size_t>(std::floor(alpha * places));
  made.k = std::clamp(made.k, std::size_t{1}, made.n);
  made.bound = static_cast<double>(made.k) / places;
  const double reached = sorted[made.k - 1];
  const double median = sorted[made.n / 2];
  made.limit = std::min(kPi, reached + margin * std::max(0.0, reached - median));
  return made;
}

}  // namespace fieldprint
