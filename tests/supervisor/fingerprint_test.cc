#include "supervisor/fingerprint.h"

#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>

#include "codec/hex.h"
#include "supervisor/projection.h"
#include "supervisor/states.h"

namespace fieldprint::test {
namespace {

std::string page() {
  std::ifstream in(FP_SOURCE_DIR "/docs/formats/fingerprint.md");
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

TEST(FingerprintTest, GivesTheVectorsOfTheFormatPage) {
  const std::string text = page();
  const Fingerprinter fingerprinter = vector_fingerprinter();
  const auto matrix = must(projection_matrix(96, vector_seed()));
  std::string first_row = "row 0, first four:";
  for (std::size_t i = 0; i < 4; ++i) first_row += " " + std::to_string(matrix[i]);
  const std::string lines[] = {
      "recipe: " + print_fingerprint_recipe(fingerprinter.recipe()),
      "recipe digest: " + hex_encode(fingerprinter.recipe_digest()),
      first_row,
      "record of state 0: " + hex_encode(must(fingerprinter.fingerprint(vector_state(0)))),
      "record of state 1: " + hex_encode(must(fingerprinter.fingerprint(vector_state(1)))),
  };
  for (const std::string& line : lines) {
    EXPECT_NE(text.find(line + "\n"), std::string::npos) << line;
  }
}

TEST(FingerprintTest, RowsAreOrthonormal) {
  for (const std::int32_t hidden : {64, 576}) {
    const auto matrix = must(projection_matrix(hidden, FingerprintSeed{7}));
    const auto n = static_cast<std::size_t>(hidden);
    for (std::size_t a = 0; a < kFingerprintDims; ++a) {
      for (std::size_t b = 0; b <= a; ++b) {
        double dot = 0;
        for (std::size_t i = 0; i < n; ++i) {
          dot += static_cast<double>(matrix[a * n + i]) * matrix[b * n + i];
        }
        EXPECT_NEAR(dot / std::pow(2.0, 48), a == b ? 1.0 : 0.0, 2e-6) << a << " " << b;
      }
    }
  }
}

// An orthonormal projection to k of d dimensions keeps |x|^2 k/d on average, and every dimension
// counts: a change in any one element moves the projection.
TEST(FingerprintTest, KeepsDistancesAndWeighsEveryDimension) {
  const auto recipe = must(make_fingerprint_recipe(576, FingerprintSeed{1}, 4096));
  const Fingerprinter fingerprinter = must(Fingerprinter::create(recipe));
  double ratio = 0;
  constexpr int kStates = 50;
  for (int s = 0; s < kStates; ++s) {
    const auto x = gaussian_states(100 + static_cast<std::uint64_t>(s), 576);
    double norm = 0;
    for (const float v : x) norm += double{v} * double{v};
    double kept = 0;
    for (const std::int64_t y : must(fingerprinter.project(x))) {
      kept += std::pow(static_cast<double>(y) / std::pow(2.0, 40), 2);
    }
    ratio += kept / norm / kStates;
  }
  EXPECT_NEAR(ratio, 32.0 / 576.0, 0.01);  // 6 standard deviations of the mean
  std::vector<float> x(576, 0.0F);
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = 1.0F;
    double kept = 0;
    for (const std::int64_t y : must(fingerprinter.project(x))) {
      kept += std::pow(static_cast<double>(y) / std::pow(2.0, 40), 2);
    }
    EXPECT_GT(kept, 0.005) << i;  // 0.056 on average
    x[i] = 0.0F;
  }
}

// The sketch gives the codes back for every y' within 3/8 of a step, and stops well past it.
TEST(FingerprintTest, SketchRecoversCodesWithinThreeEighthsOfAStep) {
  const Fingerprinter fingerprinter = vector_fingerprinter();
  const std::int64_t step = fingerprinter.recipe().step << 24;
  std::mt19937_64 rng(3);
  std::uniform_int_distribution<std::int64_t> anywhere(-100 * step, 100 * step);
  for (int round = 0; round < 2000; ++round) {
    Projection y;
    Projection near;
    std::uniform_int_distribution<std::int64_t> shift(-3 * step / 8 + 1, 3 * step / 8 - 1);
    for (std::size_t j = 0; j < y.size(); ++j) {
      y[j] = anywhere(rng);
      near[j] = y[j] + shift(rng);
    }
    const TokenFingerprint record = fingerprinter.quantise(y);
    EXPECT_TRUE(fingerprinter.recovers(y, record));
    EXPECT_TRUE(fingerprinter.recovers(near, record));
    near[static_cast<std::size_t>(round) % y.size()] =
        y[static_cast<std::size_t>(round) % y.size()] + 5 * step / 8;
    EXPECT_FALSE(fingerprinter.recovers(near, record));
  }
}

TEST(FingerprintTest, DistanceIsInSteps) {
  const Fingerprinter fingerprinter = vector_fingerprinter();
  const double step = static_cast<double>(fingerprinter.recipe().step << 24);
  const Projection y = must(fingerprinter.project(vector_state(5)));
  const TokenFingerprint record = fingerprinter.quantise(y);
  EXPECT_LT(fingerprinter.distance(y, record), 0.126);  // an eighth of a step at most
  Projection moved = y;
  for (std::int64_t& v : moved) v += static_cast<std::int64_t>(10 * step);
  EXPECT_NEAR(fingerprinter.distance(moved, record), 10.0, 0.13);
}

TEST(FingerprintTest, CodesEndAtTheEdgeOfTheirRange) {
  const Fingerprinter fingerprinter = vector_fingerprinter();
  const std::int64_t step = fingerprinter.recipe().step << 24;
  Projection y{};
  y[0] = 1000 * step;
  y[1] = -1000 * step;
  const TokenFingerprint record = fingerprinter.quantise(y);
  EXPECT_EQ(record[0], 127);
  EXPECT_EQ(record[1], static_cast<std::uint8_t>(-127));
  EXPECT_EQ(saturated_codes(record), 2);
  EXPECT_TRUE(fingerprinter.recovers(y, record));
  EXPECT_LT(fingerprinter.distance(y, record), 0.2);
}

TEST(FingerprintTest, RefusesStatesThatAreNone) {
  const Fingerprinter fingerprinter = vector_fingerprinter();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(),
                          std::numeric_limits<float>::infinity(), -4097.0F}) {
    auto state = vector_state(0);
    state[50] = bad;
    const auto record = fingerprinter.fingerprint(state);
    ASSERT_FALSE(record);
    EXPECT_EQ(record.error().code, "fingerprint_state_invalid");
  }
  EXPECT_FALSE(fingerprinter.fingerprint(std::vector<float>(95)));
}

TEST(FingerprintTest, RecipeIsReadBackAndChecked) {
  const auto recipe = vector_fingerprinter().recipe();
  const std::string text = print_fingerprint_recipe(recipe);
  const auto again = must(parse_fingerprint_recipe(text));
  EXPECT_EQ(print_fingerprint_recipe(again), text);
  const std::pair<std::string, std::string> changes[] = {
      {"\"step\":15000", "\"step\":0"},
      {"\"hidden\":96", "\"hidden\":63"},
      {"\"tap\":\"final_norm\"", "\"tap\":\"x\""},
      {"\"version\":1", "\"version\":2"},
      {"\"dims\":32", "\"dims\":16"},
      {"\"seed\":\"00", "\"seed\":\"0"},
      {"\"seed\"", "\"sead\""},
      {"sha256:", "sha255:"},
      {"}", ",\"z\":1}"},
      {"{", "{ "}};
  for (const auto& [from, to] : changes) {
    std::string bad = text;
    bad.replace(bad.find(from), from.size(), to);
    const auto parsed = parse_fingerprint_recipe(bad);
    ASSERT_FALSE(parsed) << bad;
    EXPECT_EQ(parsed.error().code, "fingerprint_recipe_invalid");
  }
  auto forged = recipe;
  forged.seed[0] ^= 1;
  const auto made = Fingerprinter::create(forged);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, "fingerprint_matrix_mismatch");
}

TEST(FingerprintTest, StepFollowsTheStates) {
  const auto states = gaussian_states(9, 64 * 100, 24.0);
  // Coordinates of an orthonormal projection have the states' standard deviation, 24 = 24 steps.
  const std::int64_t step = must(choose_fingerprint_step(64, FingerprintSeed{2}, states));
  EXPECT_NEAR(static_cast<double>(step), 65536.0, 2000.0);
  const std::vector<float> zeros(64 * 3);
  const auto none = choose_fingerprint_step(64, FingerprintSeed{2}, zeros);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, "fingerprint_recipe_invalid");
}

}  // namespace
}  // namespace fieldprint::test
