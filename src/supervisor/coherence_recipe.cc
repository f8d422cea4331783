// Coherence recipes as documents: docs/formats/coherence.md.
#include <algorithm>
#include <cmath>

#include "codec/base64.h"
#include "codec/canonical_json.h"
#include "core/check.h"
#include "supervisor/bytes.h"
#include "supervisor/coherence.h"

namespace fieldprint {
namespace {

constexpr std::string_view kFormat = "fieldprint-coherence-recipe";
constexpr std::int32_t kMaxTokens = 1024;
constexpr std::int64_t kMaxSamples = std::int64_t{1} << 40;

tl::unexpected<Error> invalid(const std::string& what) {
  return fail(ErrorKind::kInvalid, "coherence_recipe_invalid", "coherence recipe: " + what);
}

std::string print_floats(const std::vector<float>& values) {
  std::string raw;
  raw.reserve(values.size() * 4);
  for (const float value : values) bytes::put_f32(raw, value);
  return base64_encode(raw);
}

Result<std::vector<float>> parse_floats(const std::string& text, const char* name,
                                        std::size_t count) {
  const auto raw = base64_decode(text);
  if (!raw) return invalid(std::string(name) + ": " + raw.error().message);
  if (raw->size() != count * 4) {
    return invalid(std::string(name) + " has " + std::to_string(raw->size()) + " bytes, not " +
                   std::to_string(count * 4));
  }
  bytes::Cursor in(*raw);
  std::vector<float> values(count);
  for (float& value : values) value = in.f32();
  return values;
}

Status check_range(const char* name, std::int64_t value, std::int64_t low, std::int64_t high) {
  if (value >= low && value <= high) return {};
  return invalid(std::string(name) + " is " + std::to_string(value) + ", outside " +
                 std::to_string(low) + ".." + std::to_string(high));
}

Status check_sizes(const CoherenceRecipe& r) {
  FP_TRY(check_range("layer", r.layer, 0, kCoherenceMaxLayer));
  FP_TRY(check_range("hidden", r.hidden, kCoherenceMinDims, kCoherenceMaxHidden));
  FP_TRY(check_range("dims", r.dims, kCoherenceMinDims, std::min(kCoherenceMaxDims, r.hidden)));
  FP_TRY(check_range("half_life", r.half_life, 1, kMaxTokens));
  FP_TRY(check_range("skip_tokens", r.skip_tokens, 0, kMaxTokens));
  FP_TRY(check_range("min_tokens", r.min_tokens, 1, kMaxTokens));
  FP_TRY(check_range("shrinkage_ppm", r.shrinkage_ppm, 0, 1000000));
  return check_range("samples", r.samples, 1, kMaxSamples);
}

bool all_finite(const std::vector<float>& values) {
  for (const float value : values) {
    if (!std::isfinite(value)) return false;
  }
  return true;
}

}  // namespace

Status check_coherence_recipe(const CoherenceRecipe& r) {
  FP_TRY(check_sizes(r));
  const auto hidden = static_cast<std::size_t>(r.hidden);
  const auto dims = static_cast<std::size_t>(r.dims);
  if (r.mean.size() != hidden || r.matrix.size() != dims * hidden || r.reference.size() != dims) {
    return invalid("mean, matrix or reference has another size than hidden and dims say");
  }
  if (!all_finite(r.mean) || !all_finite(r.matrix) || !all_finite(r.reference)) {
    return invalid("a number is not finite");
  }
  double squares = 0;
  for (const float x : r.reference) squares += double{x} * double{x};
  if (!(std::fabs(std::sqrt(squares) - 1) <= 1e-5))
    return invalid("reference is not a unit vector");
  return {};
}

std::string print_coherence_recipe(const CoherenceRecipe& r) {
  CanonicalValue::Object object;
  object.emplace("format", std::string(kFormat));
  object.emplace("version", std::int64_t{1});
  object.emplace("layer", std::int64_t{r.layer});
  object.emplace("hidden", std::int64_t{r.hidden});
  object.emplace("dims", std::int64_t{r.dims});
  object.emplace("half_life", std::int64_t{r.half_life});
  object.emplace("skip_tokens", std::int64_t{r.skip_tokens});
  object.emplace("min_tokens", std::int64_t{r.min_tokens});
  object.emplace("shrinkage_ppm", std::int64_t{r.shrinkage_ppm});
  object.emplace("samples", r.samples);
  object.emplace("mean", print_floats(r.mean));
  object.emplace("matrix", print_floats(r.matrix));
  object.emplace("reference", print_floats(r.reference));
  const auto text = canonical_print(CanonicalValue(std::move(object)));
  FP_CHECK(text.has_value());
  return *text;
}

Result<CoherenceRecipe> parse_coherence_recipe(std::string_view text) {
  JsonLimits limits;
  limits.max_bytes = kCoherenceMaxJson;
  limits.max_values = 16;
  limits.max_depth = 1;
  const auto value = canonical_parse(text, limits);
  if (!value) return invalid(value.error().message);
  FieldReader reader(*value, "recipe");
  const auto small = [&](const char* name) {
    return static_cast<std::int32_t>(reader.integer(name, 0, 1 << 20));
  };
  const std::string format = reader.string("format", 64);
  (void)reader.integer("version", 1, 1);
  CoherenceRecipe r;
  r.layer = small("layer");
  r.hidden = small("hidden");
  r.dims = small("dims");
  r.half_life = small("half_life");
  r.skip_tokens = small("skip_tokens");
  r.min_tokens = small("min_tokens");
  r.shrinkage_ppm = small("shrinkage_ppm");
  r.samples = reader.integer("samples", 1, kMaxSamples);
  const std::string mean = reader.string("mean", kCoherenceMaxJson);
  const std::string matrix = reader.string("matrix", kCoherenceMaxJson);
  const std::string reference = reader.string("reference", kCoherenceMaxJson);
  if (const Status done = reader.finish(); !done) return invalid(done.error().message);
  if (format != kFormat) return invalid("format is not " + std::string(kFormat));
  FP_TRY(check_sizes(r));  // before anything is sized by these numbers
  const auto hidden = static_cast<std::size_t>(r.hidden);
  const auto dims = static_cast<std::size_t>(r.dims);
  FP_ASSIGN(r.mean, parse_floats(mean, "mean", hidden));
  FP_ASSIGN(r.matrix, parse_floats(matrix, "matrix", dims * hidden));
  FP_ASSIGN(r.reference, parse_floats(reference, "reference", dims));
  FP_TRY(check_coherence_recipe(r));
  return r;
}

}  // namespace fieldprint
