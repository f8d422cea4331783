// Fingerprint of the final hidden state that a token was sampled from: 40 bytes that keep
// distances.
// Format, grammar and test vectors: docs/formats/fingerprint.md.
//
//   y = P x            P: 32 x hidden, orthonormal rows, made from a seed
//   q_j = round(y_j / D), one int8; s_j = which quarter of the step y_j fell into, two bits
//
// P keeps distances up to sqrt(32/hidden) on average (Johnson-Lindenstrauss), weighs every
// dimension and needs no data to build. q alone is what the next configuration's rounding may
// flip; the sketch s (a code-offset construction on the lattice D Z: Dodis, Reyzin, Smith,
// "Fuzzy Extractors", 2004) lets a verifier whose y' is within 3 D / 8 of y recover q exactly,
// and doubles as two more bits of resolution for distances.
//
// Bits never depend on compiler, ISA or order of summation: P and x are integers (units of
// 2^-24 and 2^-16), products are summed in 64 bits without overflow. P comes from SHA-256 and
// IEEE 754 double operations (+ - * / sqrt) in a stated order; its digest is in the recipe.
//
// Thread rule: a Fingerprinter is immutable; any thread may use it.
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

inline constexpr std::size_t kFingerprintDims = 32;
inline constexpr std::size_t kFingerprintBytes = kFingerprintDims + kFingerprintDims / 4;
inline constexpr std::int32_t kFingerprintMinHidden = 64;
inline constexpr std::int32_t kFingerprintMaxHidden = 1 << 17;
inline constexpr std::int64_t kFingerprintMaxStep = std::int64_t{1} << 30;  // units of 2^-16
// A state with an element beyond this has no fingerprint. Final norms give tens to hundreds.
inline constexpr float kFingerprintMaxElement = 4096.0F;
inline constexpr int kFingerprintCodeMax = 127;  // -128 never occurs

using FingerprintSeed = std::array<std::uint8_t, 32>;
using TokenFingerprint = std::array<std::uint8_t, kFingerprintBytes>;
// y in units of 2^-40.
using Projection = std::array<std::int64_t, kFingerprintDims>;

// The frozen choice of everything above; part of the anchor, named by its digest.
struct FingerprintRecipe {
  std::int32_t hidden = 0;  // kFingerprintMinHidden..kFingerprintMaxHidden
  FingerprintSeed seed{};
  std::int64_t step = 0;  // D in units of 2^-16: 1..kFingerprintMaxStep
  Digest256 matrix_digest{};
};

// Recipe for a seed and a step; computes the matrix once. Errors: fingerprint_recipe_invalid.
Result<FingerprintRecipe> make_fingerprint_recipe(std::int32_t hidden, const FingerprintSeed& seed,
                                                  std::int64_t step);

// Canonical JSON; the recipe's digest is the SHA-256 of these bytes.
std::string print_fingerprint_recipe(const FingerprintRecipe& recipe);
Digest256 fingerprint_recipe_digest(const FingerprintRecipe& recipe);
// Canonical text only, at most 4096 bytes. Does not compute the matrix; Fingerprinter::create
// does and compares. Errors: fingerprint_recipe_invalid.
Result<FingerprintRecipe> parse_fingerprint_recipe(std::string_view text);

class Fingerprinter {
 public:
  // Builds the matrix: time and memory grow with 32 * hidden. Errors: fingerprint_recipe_invalid
  // (limits), fingerprint_matrix_mismatch (this machine's arithmetic does not give the recipe's
  // matrix, or the recipe is forged).
  static Result<Fingerprinter> create(const FingerprintRecipe& recipe);

  const FingerprintRecipe& recipe() const { return recipe_; }
  const Digest256& recipe_digest() const { return digest_; }

  // state: [hidden]. Errors: fingerprint_state_invalid (size, NaN, or beyond
  // kFingerprintMaxElement): such a state must be reported, never fingerprinted as something else.
  Result<Projection> project(std::span<const float> state) const;
  Result<TokenFingerprint> fingerprint(std::span<const float> state) const;
  TokenFingerprint quantise(const Projection& y) const;

  // Root mean square over the 32 coordinates of (y - what `claimed` stands for) / D. 0.072
  // (= 1 / (4 sqrt 12)) is what rounding to quarter steps alone gives on average.
  double distance(const Projection& y, const TokenFingerprint& claimed) const;
  // Whether `y` and the sketch of `claimed` give back its codes: true whenever every coordinate
  // is within 3 D / 8.
  bool recovers(const Projection& y, const TokenFingerprint& claimed) const;

 private:
  Fingerprinter() = default;

  FingerprintRecipe recipe_;
  Digest256 digest_{};
  std::vector<std::int32_t> matrix_;  // [32][hidden], units of 2^-24
};

// Coordinates of a record that hit the end of the code's range.
int saturated_codes(const TokenFingerprint& record);

// The step that puts the root mean square of the samples' coordinates at 24 steps, so that the
// code's range is five times it. states: [n, hidden], n > 0; seed as in the recipe. Errors:
// fingerprint_state_invalid, fingerprint_recipe_invalid (limits, or all states are zero).
Result<std::int64_t> choose_fingerprint_step(std::int32_t hidden, const FingerprintSeed& seed,
                                             std::span<const float> states);

}  // namespace fieldprint
