#include "supervisor/recipe.h"

#include <cmath>
#include <fstream>
#include <functional>
#include <numbers>
#include <sstream>

#include "crypto/sha256.h"
#include "supervisor/states.h"

namespace fieldprint::test {
namespace {

constexpr std::int32_t kHidden = 96;
constexpr std::int32_t kDims = 16;

// The test vector of docs/formats/supervision.md.
SupervisionRecipe whole_recipe() {
  SupervisionRecipe recipe;
  FingerprintSeed seed;
  for (std::size_t i = 0; i < seed.size(); ++i) seed[i] = static_cast<std::uint8_t>(i);
  recipe.fingerprint = must(make_fingerprint_recipe(kHidden, seed, 15000));
  CoherenceRecipe coherence;
  coherence.layer = 18;
  coherence.hidden = kHidden;
  coherence.dims = kDims;
  coherence.half_life = 24;
  coherence.skip_tokens = 4;
  coherence.min_tokens = 8;
  coherence.shrinkage_ppm = 1000;
  coherence.samples = 100;
  coherence.mean.assign(kHidden, 0.5F);
  coherence.matrix.assign(std::size_t{kDims} * kHidden, 0.0F);
  for (std::size_t i = 0; i < kDims; ++i) coherence.matrix[i * kHidden + i] = 1;
  coherence.reference.assign(kDims, 0.0F);
  coherence.reference[0] = 1;
  recipe.coherence = coherence;
  recipe.judge = CoherenceJudge{{0.75, 1.5}, 0.1, 0.0001, 1.25, 0.02, 30, 99};
  recipe.tolerance = FingerprintTolerance{1.5, 6, 0.875, 0.03125, 12, 48};
  return recipe;
}

std::string refused(const std::function<void(SupervisionRecipe&)>& break_it) {
  SupervisionRecipe recipe = whole_recipe();
  break_it(recipe);
  const Status status = check_supervision_recipe(recipe);
  if (status) return "accepted";
  EXPECT_EQ(status.error().code, "supervision_recipe_invalid");
  return status.error().message;
}

// `from` once, by `to`.
std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

TEST(SupervisionRecipeTest, PrintsWhatItReads) {
  const std::string text = print_supervision_recipe(whole_recipe());
  const SupervisionRecipe again = must(parse_supervision_recipe(text));
  EXPECT_EQ(print_supervision_recipe(again), text);
  EXPECT_EQ(again.fingerprint.step, 15000);
  EXPECT_EQ(again.coherence->layer, 18);
  EXPECT_EQ(again.coherence->matrix, whole_recipe().coherence->matrix);
  EXPECT_EQ(again.judge->map.low, 0.75);
  EXPECT_EQ(again.judge->map.high, 1.5);
  EXPECT_EQ(again.judge->mean_bound, 0.1);
  EXPECT_EQ(again.judge->alpha, 0.0001);
  EXPECT_EQ(again.judge->limit, 1.25);
  EXPECT_EQ(again.judge->limit_alpha, 0.02);
  EXPECT_EQ(again.judge->sessions, 30);
  EXPECT_EQ(again.judge->segments, 99);
  EXPECT_EQ(again.tolerance->outlier, 1.5);
  EXPECT_EQ(again.tolerance->cap, 6);
  EXPECT_EQ(again.tolerance->mean_limit, 0.875);
  EXPECT_EQ(again.tolerance->outlier_share_limit, 0.03125);
  EXPECT_EQ(again.tolerance->runs, 12U);
  EXPECT_EQ(again.tolerance->min_tokens, 48U);
}

TEST(SupervisionRecipeTest, IsTheTestVector) {
  const std::string text = print_supervision_recipe(whole_recipe());
  std::ifstream file(FP_SOURCE_DIR "/fuzz/corpus/supervision/whole", std::ios::binary);
  std::stringstream stored;
  stored << file.rdbuf();
  EXPECT_EQ(text, stored.str());
  std::ifstream page(FP_SOURCE_DIR "/docs/formats/supervision.md");
  std::stringstream doc;
  doc << page.rdbuf();
  EXPECT_NE(doc.str().find(digest_string(sha256(text))), std::string::npos)
      << digest_string(sha256(text));
}

// A member's digest is that of the document it was made of.
TEST(SupervisionRecipeTest, PartsKeepTheirBytes) {
  const std::string text = print_supervision_recipe(whole_recipe());
  EXPECT_NE(text.find(print_fingerprint_recipe(whole_recipe().fingerprint)), std::string::npos);
  EXPECT_NE(text.find(print_coherence_recipe(*whole_recipe().coherence)), std::string::npos);
}

TEST(SupervisionRecipeTest, FingerprintsAloneAreEnough) {
  SupervisionRecipe recipe;
  recipe.fingerprint = whole_recipe().fingerprint;
  const auto again = must(parse_supervision_recipe(print_supervision_recipe(recipe)));
  EXPECT_FALSE(again.coherence.has_value());
  EXPECT_FALSE(again.judge.has_value());
  EXPECT_FALSE(again.tolerance.has_value());
}

TEST(SupervisionRecipeTest, PrintedCountsComeBackExactly) {
  std::mt19937_64 rng(7);
  for (int round = 0; round < 50; ++round) {
    SupervisionRecipe recipe = whole_recipe();
    std::uniform_real_distribution<double> share(0.001, 0.999);
    recipe.judge->map = {share(rng), 1 + share(rng)};
    recipe.judge->limit = std::numbers::pi * share(rng);
    recipe.judge->alpha = share(rng);
    recipe.judge->mean_bound = share(rng);
    recipe.tolerance->cap = 1e6 * share(rng);
    const std::string text = print_supervision_recipe(recipe);
    const SupervisionRecipe again = must(parse_supervision_recipe(text));
    EXPECT_EQ(print_supervision_recipe(again), text);
    EXPECT_NEAR(again.judge->limit, recipe.judge->limit, 5.1e-10);
    EXPECT_NEAR(again.tolerance->cap, recipe.tolerance->cap, 1e-9);
  }
}

TEST(SupervisionRecipeTest, RefusesPartsThatDoNotFit) {
  EXPECT_NE(refused([](auto& r) { r.judge.reset(); }).find("together"), std::string::npos);
  EXPECT_NE(refused([](auto& r) { r.coherence.reset(); }).find("together"), std::string::npos);
  EXPECT_NE(refused([](auto& r) { r.fingerprint.hidden = 128; }).find("different size"),
            std::string::npos);
  EXPECT_NE(refused([](auto& r) { r.coherence->mean.pop_back(); }).find("size"), std::string::npos);
}

TEST(SupervisionRecipeTest, RefusesNumbersOutOfRange) {
  const double nan = std::nan("");
  EXPECT_NE(refused([](auto& r) { r.judge->map = {1.5, 1.5}; }), "accepted");
  EXPECT_NE(refused([](auto& r) { r.judge->map.low = -0.1; }), "accepted");
  EXPECT_NE(refused([](auto& r) { r.judge->map.high = 3.15; }), "accepted");
  EXPECT_NE(refused([&](auto& r) { r.judge->limit = nan; }), "accepted");
  EXPECT_NE(refused([](auto& r) { r.judge->limit = 0; }), "accepted");
  EXPECT_NE(refused([](auto& r) { r.judge->mean_bound = 0; }), "accepted");
  EXPECT_NE(refused([](auto& r) { r.judge->mean_bound = 1; }), "accepted");
  EXPECT_NE(refused([](auto& r) { r.judge->alpha = 1; }), "accepted");
  EXPECT_NE(refused([](auto& r) { r.judge->limit_alpha = 0; }), "accepted");
  EXPECT_NE(refused([](auto& r) { r.judge->sessions = 7; }), "accepted");
  EXPECT_NE(refused([](auto& r) { r.judge->segments = 29; }), "accepted");
  EXPECT_NE(refused([](auto& r) { r.tolerance->mean_limit = 0; }), "accepted");
  EXPECT_NE(refused([](auto& r) { r.tolerance->cap = 2e6; }), "accepted");
  EXPECT_NE(refused([](auto& r) { r.tolerance->outlier_share_limit = 1.5; }), "accepted");
  EXPECT_NE(refused([](auto& r) { r.tolerance->runs = 3; }), "accepted");
  EXPECT_NE(refused([](auto& r) { r.tolerance->min_tokens = 15; }), "accepted");
  EXPECT_EQ(refused([](auto& r) { r.judge->map.high = std::numbers::pi; }), "accepted");
}

TEST(SupervisionRecipeTest, RefusesOtherDocuments) {
  const std::string good = print_supervision_recipe(whole_recipe());
  const auto code = [](const std::string& text) {
    const auto parsed = parse_supervision_recipe(text);
    return parsed ? std::string("accepted") : parsed.error().code;
  };
  const std::string wanted = "supervision_recipe_invalid";
  EXPECT_EQ(code(good), "accepted");
  EXPECT_EQ(code(""), wanted);
  EXPECT_EQ(code("[]"), wanted);
  EXPECT_EQ(code(good + "\n"), wanted);
  EXPECT_EQ(code(good.substr(0, good.size() - 1)), wanted);
  EXPECT_EQ(code(replaced(good, "\"version\":1}", "\"version\":2}")), wanted);
  EXPECT_EQ(code(replaced(good, "fieldprint-supervision\"", "fieldprint-supervisor\"")), wanted);
  EXPECT_EQ(code(replaced(good, "\"sessions\":30", "\"sessions\":30.5")), wanted);
  EXPECT_EQ(code(replaced(good, "\"sessions\":30", "\"sessions\":30,\"spare\":1")), wanted);
  EXPECT_EQ(code(replaced(good, "\"judge\":{", "\"judges\":{")), wanted);
  EXPECT_EQ(code(replaced(good, "\"alpha\":100000,", "")), wanted);
  EXPECT_EQ(code(replaced(good, "\"layer\":18", "\"layer\":-1")), wanted);
  EXPECT_EQ(code(replaced(good, "\"tap\":\"final_norm\"", "\"tap\":\"first\"")), wanted);
}

}  // namespace
}  // namespace fieldprint::test
