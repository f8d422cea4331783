// Coherence: the angle between where the model is and where its anchor put it.
//
//   x_t = W (h_t - mu)                      h_t: a state of one layer; W: dims x hidden
//   e_t = sum_(j>=0) r^j x_(t-j) / sum_(j>=0) r^j     exponential pooling, r = 2^(-1/half life)
//   angle = 2 atan2(|p - q|, |p + q|),  p = e_t / |e_t|,  q the reference, |q| = 1
// W whitens, so no direction counts by its size alone: raw cosines are ruled by one to three
// dimensions. Pooling matters: in d whitened dimensions a signal of length m has
// cos(angle) ~ m / sqrt(m^2 + d / w) over w effective tokens, near 80 degrees for one token and d
// in the hundreds whatever the state. The formula of the angle keeps its digits near 0 and pi,
// where arccos(p.q) loses half of them (Kahan).
// A healthy angle is not zero. Judge its deviation from healthy ones: detector.h.
//
// Everything is in doubles in a stated order (ascending index), so that two machines agree to the
// last digit of the square root and to rounding in atan2.
//
// Thread rule: a Coherence is immutable; states are small values of the caller.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "crypto/sha256.h"

namespace fieldprint {

inline constexpr std::int32_t kCoherenceMinDims = 16;
inline constexpr std::int32_t kCoherenceMaxDims = 64;
inline constexpr std::int32_t kCoherenceMaxHidden = 1 << 17;
inline constexpr std::int32_t kCoherenceMaxLayer = 1023;
inline constexpr std::size_t kCoherenceMaxJson = std::size_t{64} << 20;  // bytes

// Angle between two vectors in [0, pi], whatever their lengths; NaN if one has no direction (all
// zero, not finite). Same size.
double geodesic_angle(std::span<const double> a, std::span<const double> b);

// The frozen choice of everything above; part of the anchor, named by its digest. Fitted by
// coherence_fit.h. Format: docs/formats/coherence.md.
struct CoherenceRecipe {
  std::int32_t layer = 0;          // tap: residual stream after this block
  std::int32_t hidden = 0;         // 16..kCoherenceMaxHidden
  std::int32_t dims = 0;           // kCoherenceMinDims..kCoherenceMaxDims, <= hidden
  std::int32_t half_life = 0;      // tokens, 1..1024
  std::int32_t skip_tokens = 0;    // at the start of a turn, 0..1024: template and first words
  std::int32_t min_tokens = 0;     // pooled before there is an angle, 1..1024
  std::int32_t shrinkage_ppm = 0;  // used in the fit, 0..1000000
  std::int64_t samples = 0;        // states in the fit
  std::vector<float> mean;         // [hidden]: mu
  std::vector<float> matrix;       // [dims][hidden]: W
  std::vector<float> reference;    // [dims]: q to float precision
};

// Canonical JSON; floats as base64 of little-endian binary32. The recipe's digest is the SHA-256
// of these bytes. The recipe must be valid.
std::string print_coherence_recipe(const CoherenceRecipe& recipe);
// Takes outside bytes, canonical text only. Errors: coherence_recipe_invalid.
Result<CoherenceRecipe> parse_coherence_recipe(std::string_view text);
// Sizes, limits, finite values, a reference of length 1 to 1e-5. Errors: coherence_recipe_invalid.
Status check_coherence_recipe(const CoherenceRecipe& recipe);

// The pooled state of one sequence; copy it with a KV checkpoint.
struct CoherenceState {
  // Sum of r^j x_(t-j): the weights' sum scales all coordinates alike and no angle needs it.
  std::array<double, kCoherenceMaxDims> sum{};
  std::uint32_t tokens = 0;  // since the turn began, skipped ones included
  bool broken = false;       // a state was not finite: no angle until the next turn
};

struct CoherenceReading {
  bool ready = false;  // enough tokens were pooled
  double angle = 0;    // radians; NaN when the pooled state has no direction: treat as a breach
};

class Coherence {
 public:
  // Errors: coherence_recipe_invalid.
  static Result<Coherence> create(CoherenceRecipe recipe);

  const CoherenceRecipe& recipe() const { return recipe_; }
  const Digest256& recipe_digest() const { return digest_; }

  // x of one state, [dims]. state: [hidden].
  void project(std::span<const float> state, std::span<double> x) const;
  // Takes one token's state in. A new turn starts with a new CoherenceState.
  void step(CoherenceState& pooled, std::span<const float> state) const;
  CoherenceReading read(const CoherenceState& pooled) const;
  // p = e_t / |e_t| to float precision, [dims]; empty if the pooled state has no direction.
  std::vector<float> direction(const CoherenceState& pooled) const;

 private:
  Coherence() = default;

  CoherenceRecipe recipe_;
  Digest256 digest_{};
  std::vector<float> columns_;     // [hidden][dims]: W transposed, so that sums run side by side
  std::vector<double> reference_;  // [dims], length 1 to double precision
  double decay_ = 0;
};

}  // namespace fieldprint
