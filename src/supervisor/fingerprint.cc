#include "supervisor/fingerprint.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "codec/canonical_json.h"
#include "codec/hex.h"
#include "core/check.h"
#include "supervisor/products.h"
#include "supervisor/projection.h"

namespace fieldprint {
namespace {

constexpr std::string_view kFormat = "fieldprint-fingerprint-recipe";
constexpr std::size_t kMaxRecipeBytes = 4096;
constexpr std::int64_t kStepUnit = std::int64_t{1} << 24;  // 2^-16 in units of 2^-40
constexpr double kRmsInSteps = 24.0;

tl::unexpected<Error> invalid_recipe(const std::string& what) {
  return fail(ErrorKind::kInvalid, "fingerprint_recipe_invalid", "fingerprint recipe: " + what);
}

Status check_recipe(std::int32_t hidden, std::int64_t step) {
  if (hidden < kFingerprintMinHidden || hidden > kFingerprintMaxHidden) {
    return invalid_recipe("hidden size " + std::to_string(hidden) + " is outside 64..131072");
  }
  if (step < 1 || step > kFingerprintMaxStep) {
    return invalid_recipe("step " + std::to_string(step) + " is outside 1..2^30");
  }
  return {};
}

std::optional<Digest256> bytes_32(std::string_view hex) {
  const auto decoded = hex_decode(hex);
  if (!decoded || decoded->size() != 32) return std::nullopt;
  Digest256 out;
  std::ranges::copy(*decoded, out.begin());
  return out;
}

std::int64_t floor_div(std::int64_t a, std::int64_t b) {  // b > 0
  const std::int64_t q = a / b;
  return a % b < 0 ? q - 1 : q;
}

// y of one coordinate moved into the range that codes -127..127 cover.
std::int64_t into_range(std::int64_t y, std::int64_t step) {
  const std::int64_t half = step / 2;
  return std::clamp(y, -kFingerprintCodeMax * step - half,
                    kFingerprintCodeMax * step + (step - half) - 1);
}

int code_at(const TokenFingerprint& record, std::size_t j) {
  return static_cast<std::int8_t>(record[j]);
}
int quarter_at(const TokenFingerprint& record, std::size_t j) {
  return (record[kFingerprintDims + j / 4] >> (2 * (j % 4))) & 3;
}

Result<Projection> project_with(std::span<const std::int32_t> matrix, std::span<const float> state,
                                std::size_t hidden) {
  if (state.size() != hidden) {
    return fail(ErrorKind::kInvalid, "fingerprint_state_invalid",
                "a state of " + std::to_string(state.size()) + " elements, expected " +
                    std::to_string(hidden));
  }
  std::vector<std::int32_t> x(hidden);
  if (!products().fixed_point(state.data(), kFingerprintMaxElement, x.data(), hidden)) {
    const auto bad = std::ranges::find_if(
        state, [](float value) { return !(std::fabs(value) <= kFingerprintMaxElement); });
    return fail(ErrorKind::kInvalid, "fingerprint_state_invalid",
                "element " + std::to_string(bad - state.begin()) +
                    " of a hidden state is not within +-4096");
  }
  // |sum| <= |row| |x| <= 2^24 * 2^28 * sqrt(2^17) < 2^61, and so is every partial sum.
  Projection y;
  products().integer(matrix.data(), x.data(), hidden, y.data(), y.size());
  return y;
}

}  // namespace

Result<FingerprintRecipe> make_fingerprint_recipe(std::int32_t hidden, const FingerprintSeed& seed,
                                                  std::int64_t step) {
  FP_TRY(check_recipe(hidden, step));
  FP_ASSIGN(const auto matrix, projection_matrix(hidden, seed));
  return FingerprintRecipe{hidden, seed, step, projection_digest(matrix)};
}

std::string print_fingerprint_recipe(const FingerprintRecipe& recipe) {
  CanonicalValue::Object object;
  object.emplace("format", std::string(kFormat));
  object.emplace("version", std::int64_t{1});
  object.emplace("tap", "final_norm");
  object.emplace("hidden", std::int64_t{recipe.hidden});
  object.emplace("dims", std::int64_t{kFingerprintDims});
  object.emplace("seed", hex_encode(recipe.seed));
  object.emplace("step", recipe.step);
  object.emplace("matrix_digest", digest_string(recipe.matrix_digest));
  const auto text = canonical_print(CanonicalValue(std::move(object)));
  FP_CHECK(text.has_value());
  return *text;
}

Digest256 fingerprint_recipe_digest(const FingerprintRecipe& recipe) {
  return sha256(print_fingerprint_recipe(recipe));
}

Result<FingerprintRecipe> parse_fingerprint_recipe(std::string_view text) {
  JsonLimits limits;
  limits.max_bytes = kMaxRecipeBytes;
  limits.max_values = 16;
  limits.max_depth = 1;
  const auto value = canonical_parse(text, limits);
  if (!value) return invalid_recipe(value.error().message);
  FieldReader reader(*value, "recipe");
  const std::string format = reader.string("format", 64);
  (void)reader.integer("version", 1, 1);
  const std::string tap = reader.string("tap", 32);
  FingerprintRecipe recipe;
  recipe.hidden = static_cast<std::int32_t>(
      reader.integer("hidden", kFingerprintMinHidden, kFingerprintMaxHidden));
  (void)reader.integer("dims", kFingerprintDims, kFingerprintDims);
  const auto seed = bytes_32(reader.string("seed", 64));
  recipe.step = reader.integer("step", 1, kFingerprintMaxStep);
  const std::string matrix = reader.string("matrix_digest", 71);
  if (const Status done = reader.finish(); !done) return invalid_recipe(done.error().message);
  if (format != kFormat) return invalid_recipe("format is not " + std::string(kFormat));
  if (tap != "final_norm") return invalid_recipe("unknown tap; this build knows final_norm");
  const auto digest =
      matrix.starts_with("sha256:") ? bytes_32(std::string_view(matrix).substr(7)) : std::nullopt;
  if (!seed || !digest) return invalid_recipe("seed or matrix_digest is not 32 bytes of hex");
  recipe.seed = *seed;
  recipe.matrix_digest = *digest;
  return recipe;
}

Result<Fingerprinter> Fingerprinter::create(const FingerprintRecipe& recipe) {
  FP_TRY(check_recipe(recipe.hidden, recipe.step));
  Fingerprinter made;
  made.recipe_ = recipe;
  made.digest_ = fingerprint_recipe_digest(recipe);
  FP_ASSIGN(made.matrix_, projection_matrix(recipe.hidden, recipe.seed));
  if (projection_digest(made.matrix_) != recipe.matrix_digest) {
    return fail(ErrorKind::kCorrupt, "fingerprint_matrix_mismatch",
                "the seed does not give the matrix that the fingerprint recipe names; take the "
                "recipe from its signed source again");
  }
  return made;
}

Result<Projection> Fingerprinter::project(std::span<const float> state) const {
  return project_with(matrix_, state, static_cast<std::size_t>(recipe_.hidden));
}

Result<TokenFingerprint> Fingerprinter::fingerprint(std::span<const float> state) const {
  FP_ASSIGN(const Projection y, project(state));
  return quantise(y);
}

TokenFingerprint Fingerprinter::quantise(const Projection& y) const {
  const std::int64_t step = recipe_.step * kStepUnit;
  TokenFingerprint record{};
  for (std::size_t j = 0; j < kFingerprintDims; ++j) {
    const std::int64_t shifted = into_range(y[j], step) + step / 2;
    const std::int64_t code = floor_div(shifted, step);
    const std::int64_t rest = shifted - code * step;  // 0..step-1
    const auto quarter = static_cast<unsigned>(4 * rest / step);
    record[j] = static_cast<std::uint8_t>(code);
    std::uint8_t& packed = record[kFingerprintDims + j / 4];
    packed = static_cast<std::uint8_t>(packed | quarter << (2 * (j % 4)));
  }
  return record;
}

double Fingerprinter::distance(const Projection& y, const TokenFingerprint& claimed) const {
  const std::int64_t step = recipe_.step * kStepUnit;
  double squares = 0;
  for (std::size_t j = 0; j < kFingerprintDims; ++j) {
    const double mine = static_cast<double>(into_range(y[j], step)) / static_cast<double>(step);
    const double theirs = code_at(claimed, j) + (quarter_at(claimed, j) - 1.5) / 4.0;
    squares += (mine - theirs) * (mine - theirs);
  }
  return std::sqrt(squares / static_cast<double>(kFingerprintDims));
}

bool Fingerprinter::recovers(const Projection& y, const TokenFingerprint& claimed) const {
  const std::int64_t step = recipe_.step * kStepUnit;
  for (std::size_t j = 0; j < kFingerprintDims; ++j) {
    // Offset of the claimed quarter's middle from its lattice point, in eighths of a step:
    // -3, -1, 1 or 3. What is left of y' after it rounds to the code.
    const std::int64_t offset = (2 * quarter_at(claimed, j) - 3) * (step / 8);
    const std::int64_t code = floor_div(into_range(y[j], step) - offset + step / 2, step);
    if (code != code_at(claimed, j)) return false;
  }
  return true;
}

int saturated_codes(const TokenFingerprint& record) {
  int count = 0;
  for (std::size_t j = 0; j < kFingerprintDims; ++j) {
    if (std::abs(code_at(record, j)) >= kFingerprintCodeMax) ++count;
  }
  return count;
}

Result<std::int64_t> choose_fingerprint_step(std::int32_t hidden, const FingerprintSeed& seed,
                                             std::span<const float> states) {
  FP_TRY(check_recipe(hidden, 1));
  const auto n = static_cast<std::size_t>(hidden);
  FP_CHECK(!states.empty() && states.size() % n == 0);
  FP_ASSIGN(const auto matrix, projection_matrix(hidden, seed));
  double squares = 0;
  for (std::size_t at = 0; at < states.size(); at += n) {
    FP_ASSIGN(const Projection y, project_with(matrix, states.subspan(at, n), n));
    for (const std::int64_t value : y) {
      const double scaled = static_cast<double>(value) / static_cast<double>(kStepUnit);
      squares += scaled * scaled;
    }
  }
  const std::size_t coordinates = states.size() / n * kFingerprintDims;
  const double mean_square = squares / static_cast<double>(coordinates);
  const double step = std::floor(std::sqrt(mean_square) / kRmsInSteps + 0.5);
  if (!(step >= 1.0) || step > static_cast<double>(kFingerprintMaxStep)) {
    return invalid_recipe("the sample states are too small or too large for any step");
  }
  return static_cast<std::int64_t>(step);
}

}  // namespace fieldprint
