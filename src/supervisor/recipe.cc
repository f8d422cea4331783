// Supervision recipes as documents: docs/formats/supervision.md.
#include "supervisor/recipe.h"

#include <cmath>

#include "codec/canonical_json.h"
#include "core/check.h"

namespace fieldprint {
namespace {

constexpr std::string_view kFormat = "fieldprint-supervision";
// Documents hold no fractions: angles, probabilities and distances are counted in billionths.
// Doubles keep such counts exactly up to 2^51, so what was parsed prints back to the same bytes.
constexpr double kUnit = 1e9;
constexpr std::int64_t kOne = 1'000'000'000;
constexpr std::int64_t kPi = 3'141'592'654;                // pi, rounded up
constexpr std::int64_t kMaxSteps = 1'000'000 * kOne;       // distance between fingerprints
constexpr std::int64_t kMaxCount = std::int64_t{1} << 40;  // sessions, segments
constexpr std::int64_t kMaxRuns = std::int64_t{1} << 20;   // of a tolerance, and tokens of one
constexpr std::int64_t kMinSessions = 8;                   // calibrate_detector() takes no fewer
constexpr std::int64_t kMinRuns = 4;                       // calibrate_fingerprints() neither
constexpr std::int64_t kMinRunTokens = 16;

tl::unexpected<Error> invalid(const std::string& what) {
  return fail(ErrorKind::kInvalid, "supervision_recipe_invalid", "supervision recipe: " + what);
}

double from_units(std::int64_t units) { return static_cast<double>(units) / kUnit; }
// False for NaN.
bool within(double value, std::int64_t low, std::int64_t high) {
  const double units = std::round(value * kUnit);
  return units >= static_cast<double>(low) && units <= static_cast<double>(high);
}

Status check_within(const char* name, double value, std::int64_t low, std::int64_t high) {
  if (within(value, low, high)) return {};
  return invalid(std::string(name) + " is outside its range");
}

Status check_count(const char* name, std::int64_t value, std::int64_t low, std::int64_t high) {
  if (value >= low && value <= high) return {};
  return invalid(std::string(name) + " is " + std::to_string(value) + ", outside " +
                 std::to_string(low) + ".." + std::to_string(high));
}

Status check_judge(const CoherenceJudge& judge) {
  FP_TRY(check_within("judge.low", judge.map.low, 0, kPi));
  FP_TRY(check_within("judge.high", judge.map.high, 0, kPi));
  FP_TRY(check_within("judge.limit", judge.limit, 1, kPi));
  FP_TRY(check_within("judge.mean_bound", judge.mean_bound, 1, kOne - 1));
  FP_TRY(check_within("judge.alpha", judge.alpha, 1, kOne - 1));
  FP_TRY(check_within("judge.limit_alpha", judge.limit_alpha, 1, kOne - 1));
  FP_TRY(check_count("judge.sessions", judge.sessions, kMinSessions, kMaxCount));
  FP_TRY(check_count("judge.segments", judge.segments, judge.sessions, kMaxCount));
  if (std::round(judge.map.low * kUnit) >= std::round(judge.map.high * kUnit)) {
    return invalid("judge.low is not below judge.high");
  }
  if (const auto settings = make_detector_settings(judge.mean_bound, judge.alpha); !settings) {
    return invalid("judge: " + settings.error().message);
  }
  return {};
}

Status check_tolerance(const FingerprintTolerance& tolerance) {
  FP_TRY(check_within("tolerance.outlier", tolerance.outlier, 1, kMaxSteps));
  FP_TRY(check_within("tolerance.cap", tolerance.cap, 1, kMaxSteps));
  FP_TRY(check_within("tolerance.mean_limit", tolerance.mean_limit, 1, kMaxSteps));
  FP_TRY(check_within("tolerance.outlier_share_limit", tolerance.outlier_share_limit, 0, kOne));
  FP_TRY(check_count("tolerance.runs", tolerance.runs, kMinRuns, kMaxRuns));
  return check_count("tolerance.min_tokens", tolerance.min_tokens, kMinRunTokens, kMaxRuns);
}

// A document inside this one: its bytes here are its bytes alone, so its digest stays the same.
CanonicalValue embed(const std::string& document) {
  JsonLimits limits;
  limits.max_bytes = kCoherenceMaxJson;
  auto value = canonical_parse(document, limits);
  FP_CHECK(value.has_value());
  return std::move(*value);
}

Result<std::string> extract(const CanonicalValue& value) {
  auto text = canonical_print(value);
  if (!text) return invalid(text.error().message);
  return text;
}

CanonicalValue::Object print_judge(const CoherenceJudge& judge) {
  return {{"alpha", std::llround(judge.alpha * kUnit)},
          {"high", std::llround(judge.map.high * kUnit)},
          {"limit", std::llround(judge.limit * kUnit)},
          {"limit_alpha", std::llround(judge.limit_alpha * kUnit)},
          {"low", std::llround(judge.map.low * kUnit)},
          {"mean_bound", std::llround(judge.mean_bound * kUnit)},
          {"segments", judge.segments},
          {"sessions", judge.sessions}};
}

CanonicalValue::Object print_tolerance(const FingerprintTolerance& tolerance) {
  return {{"cap", std::llround(tolerance.cap * kUnit)},
          {"mean_limit", std::llround(tolerance.mean_limit * kUnit)},
          {"min_tokens", std::int64_t{tolerance.min_tokens}},
          {"outlier", std::llround(tolerance.outlier * kUnit)},
          {"outlier_share_limit", std::llround(tolerance.outlier_share_limit * kUnit)},
          {"runs", std::int64_t{tolerance.runs}}};
}

Result<CoherenceJudge> parse_judge(const CanonicalValue& value) {
  FieldReader reader(value, "judge");
  const auto number = [&](const char* name, std::int64_t high) {
    return from_units(reader.integer(name, 0, high));
  };
  CoherenceJudge judge;
  judge.alpha = number("alpha", kOne);
  judge.map.high = number("high", kPi);
  judge.limit = number("limit", kPi);
  judge.limit_alpha = number("limit_alpha", kOne);
  judge.map.low = number("low", kPi);
  judge.mean_bound = number("mean_bound", kOne);
  judge.segments = reader.integer("segments", 1, kMaxCount);
  judge.sessions = reader.integer("sessions", 1, kMaxCount);
  if (const Status done = reader.finish(); !done) return invalid(done.error().message);
  return judge;
}

Result<FingerprintTolerance> parse_tolerance(const CanonicalValue& value) {
  FieldReader reader(value, "tolerance");
  const auto number = [&](const char* name, std::int64_t high) {
    return from_units(reader.integer(name, 0, high));
  };
  const auto count = [&](const char* name) {
    return static_cast<std::uint32_t>(reader.integer(name, 1, kMaxRuns));
  };
  FingerprintTolerance tolerance;
  tolerance.cap = number("cap", kMaxSteps);
  tolerance.mean_limit = number("mean_limit", kMaxSteps);
  tolerance.min_tokens = count("min_tokens");
  tolerance.outlier = number("outlier", kMaxSteps);
  tolerance.outlier_share_limit = number("outlier_share_limit", kOne);
  tolerance.runs = count("runs");
  if (const Status done = reader.finish(); !done) return invalid(done.error().message);
  return tolerance;
}

}  // namespace

Status check_supervision_recipe(const SupervisionRecipe& recipe) {
  if (recipe.coherence.has_value() != recipe.judge.has_value()) {
    return invalid("coherence and judge come together or not at all");
  }
  if (const auto again = parse_fingerprint_recipe(print_fingerprint_recipe(recipe.fingerprint));
      !again) {
    return invalid(again.error().message);
  }
  if (recipe.coherence) {
    if (const Status good = check_coherence_recipe(*recipe.coherence); !good) {
      return invalid(good.error().message);
    }
    if (recipe.coherence->hidden != recipe.fingerprint.hidden) {
      return invalid("fingerprint and coherence are for states of different size");
    }
    FP_TRY(check_judge(*recipe.judge));
  }
  if (recipe.tolerance) FP_TRY(check_tolerance(*recipe.tolerance));
  return {};
}

std::string print_supervision_recipe(const SupervisionRecipe& recipe) {
  FP_CHECK(check_supervision_recipe(recipe).has_value());
  CanonicalValue::Object object;
  object.emplace("format", std::string(kFormat));
  object.emplace("version", std::int64_t{1});
  object.emplace("fingerprint", embed(print_fingerprint_recipe(recipe.fingerprint)));
  if (recipe.coherence) {
    object.emplace("coherence", embed(print_coherence_recipe(*recipe.coherence)));
    object.emplace("judge", print_judge(*recipe.judge));
  }
  if (recipe.tolerance) object.emplace("tolerance", print_tolerance(*recipe.tolerance));
  const auto text = canonical_print(CanonicalValue(std::move(object)));
  FP_CHECK(text.has_value());
  return *text;
}

Result<SupervisionRecipe> parse_supervision_recipe(std::string_view text) {
  JsonLimits limits;
  limits.max_bytes = kSupervisionMaxBytes;
  limits.max_values = 64;
  limits.max_depth = 2;
  const auto value = canonical_parse(text, limits);
  if (!value) return invalid(value.error().message);
  FieldReader reader(*value, "recipe");
  const std::string format = reader.string("format", 64);
  (void)reader.integer("version", 1, 1);
  const CanonicalValue& fingerprint = reader.object("fingerprint");
  const auto optional = [&](const char* name) {
    return member(&*value, name) == nullptr ? nullptr : &reader.object(name);
  };
  const CanonicalValue* const coherence = optional("coherence");
  const CanonicalValue* const judge = optional("judge");
  const CanonicalValue* const tolerance = optional("tolerance");
  if (const Status done = reader.finish(); !done) return invalid(done.error().message);
  if (format != kFormat) return invalid("format is not " + std::string(kFormat));
  SupervisionRecipe recipe;
  FP_ASSIGN(const std::string fingerprint_text, extract(fingerprint));
  const auto fingerprint_recipe = parse_fingerprint_recipe(fingerprint_text);
  if (!fingerprint_recipe) return invalid(fingerprint_recipe.error().message);
  recipe.fingerprint = *fingerprint_recipe;
  if (coherence != nullptr) {
    FP_ASSIGN(const std::string coherence_text, extract(*coherence));
    auto coherence_recipe = parse_coherence_recipe(coherence_text);
    if (!coherence_recipe) return invalid(coherence_recipe.error().message);
    recipe.coherence = std::move(*coherence_recipe);
  }
  if (judge != nullptr) {
    FP_ASSIGN(recipe.judge, parse_judge(*judge));
  }
  if (tolerance != nullptr) {
    FP_ASSIGN(recipe.tolerance, parse_tolerance(*tolerance));
  }
  FP_TRY(check_supervision_recipe(recipe));
  return recipe;
}

}  // namespace fieldprint
