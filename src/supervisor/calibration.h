// What an angle is worth: how well it tells anchored responses from others, and the limit above
// which it is a breach. Used to calibrate an anchor and to measure drift.
//
// Thread rule: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/error.h"
#include "supervisor/coherence.h"

namespace fieldprint {

// The angles that the supervisor's workers read of one response: after every kSegmentTokens tokens
// (chain.h) and at its end, where enough were pooled. states: [tokens, hidden] of the recipe's
// layer. NaN: no direction.
std::vector<double> segment_angles(const Coherence& coherence, std::span<const float> states);

// One operating point: alarm at angles >= limit.
struct RocPoint {
  double limit = 0;
  double false_rate = 0;  // share of healthy angles
  double true_rate = 0;   // share of the others
};
struct RocCurve {
  std::vector<RocPoint> points;  // from (0, 0) to (1, 1), both rates ascending
  double area = 0;               // P(other > healthy) + P(equal) / 2 (Mann, Whitney 1947)

  // Largest true rate among points whose false rate is at most this. With few healthy angles that
  // is a statement about these angles, not about the next ones.
  double true_rate_at(double false_rate) const;
};
// NaN counts as pi: fail closed. Neither may be empty. Errors: calibration_invalid.
Result<RocCurve> roc_curve(std::span<const double> healthy, std::span<const double> other);

// Split conformal limit (Vovk, Gammerman, Shafer 2005): the k-th largest of n healthy angles is
// reached by one more exchangeable angle with probability at most k / (n + 1).
struct AngleLimit {
  double limit = 0;
  double bound = 0;  // k / (n + 1)
  std::size_t k = 0;
  std::size_t n = 0;
};
// k is the largest with k / (n + 1) <= alpha, at least 1: where the angles are too few for alpha,
// `bound` is what they do support, and it is above alpha. margin >= 0: added to the limit in units
// of the distance from the median to it; lowers the true rate below the bound, never above. The
// limit is at most pi. Errors: calibration_invalid (no angle, one that is not in [0, pi], alpha
// outside (0, 1), margin outside 0..10).
Result<AngleLimit> conformal_limit(std::span<const double> healthy, double alpha, double margin);

}  // namespace fieldprint
