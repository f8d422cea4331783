#include "supervisor/calibration.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "supervisor/chain.h"
#include "supervisor/states.h"

namespace fieldprint::test {
namespace {

constexpr double kPi = std::numbers::pi;

std::string code_of_limit(std::span<const double> angles, double alpha, double margin) {
  const auto made = conformal_limit(angles, alpha, margin);
  return made ? "accepted" : made.error().code;
}

TEST(RocTest, AreaIsTheShareOfPairsInOrder) {
  std::mt19937_64 rng(3);
  std::uniform_int_distribution<int> draw(0, 20);
  for (int round = 0; round < 50; ++round) {
    std::vector<double> healthy(17);
    std::vector<double> other(23);
    for (double& x : healthy) x = draw(rng) * 0.1;
    for (double& x : other) x = (draw(rng) + 4) * 0.1;
    double pairs = 0;
    for (const double a : healthy) {
      for (const double b : other) pairs += b > a ? 1 : (b == a ? 0.5 : 0);
    }
    const RocCurve curve = must(roc_curve(healthy, other));
    EXPECT_NEAR(curve.area, pairs / (17.0 * 23.0), 1e-12);
    EXPECT_EQ(curve.points.front().false_rate, 0);
    EXPECT_EQ(curve.points.front().true_rate, 0);
    EXPECT_EQ(curve.points.back().false_rate, 1);
    EXPECT_EQ(curve.points.back().true_rate, 1);
    for (const RocPoint& point : curve.points) {
      const auto at_least = [&](double x) { return x >= point.limit; };
      EXPECT_EQ(point.false_rate * 17,
                static_cast<double>(std::ranges::count_if(healthy, at_least)));
      EXPECT_NEAR(point.true_rate * 23, static_cast<double>(std::ranges::count_if(other, at_least)),
                  1e-9);
    }
  }
}

TEST(RocTest, OperatingPoints) {
  const std::vector<double> healthy = {0.1, 0.2, 0.3, 0.4};
  const std::vector<double> other = {0.25, 0.35, 0.5, std::nan("")};
  const RocCurve curve = must(roc_curve(healthy, other));
  EXPECT_EQ(curve.true_rate_at(0), 0.5) << "0.5, and no direction";
  EXPECT_EQ(curve.true_rate_at(0.24), 0.5);
  EXPECT_EQ(curve.true_rate_at(0.25), 0.75);
  EXPECT_EQ(curve.true_rate_at(1), 1);
  EXPECT_EQ(roc_curve({}, other).error().code, "calibration_invalid");
  EXPECT_EQ(roc_curve(healthy, {}).error().code, "calibration_invalid");
}

TEST(ConformalLimitTest, SaysWhatItsAnglesSupport) {
  std::vector<double> angles;
  for (int i = 1; i <= 99; ++i) angles.push_back(i * 0.01);
  const AngleLimit one = must(conformal_limit(angles, 0.01, 0));
  EXPECT_EQ(one.k, 1U);
  EXPECT_EQ(one.bound, 0.01);
  EXPECT_DOUBLE_EQ(one.limit, 0.99);
  const AngleLimit five = must(conformal_limit(angles, 0.05, 0));
  EXPECT_EQ(five.k, 5U);
  EXPECT_DOUBLE_EQ(five.limit, 0.95);
  const AngleLimit few = must(conformal_limit(std::span(angles).first(9), 0.01, 0));
  EXPECT_EQ(few.bound, 0.1) << "nine angles cannot speak of one percent";
  const AngleLimit wide = must(conformal_limit(angles, 0.01, 0.5));
  EXPECT_DOUBLE_EQ(wide.limit, 0.99 + 0.5 * (0.99 - 0.5));
  EXPECT_EQ(wide.bound, 0.01);
  EXPECT_EQ(must(conformal_limit(angles, 0.01, 10)).limit, kPi);
}

// The promise, by simulation: one more angle of the same law reaches the limit with probability at
// most k / (n + 1), whatever the law.
TEST(ConformalLimitTest, HoldsForOneMoreAngle) {
  std::mt19937_64 rng(11);
  std::exponential_distribution<double> law(4);
  const auto draw = [&] { return std::min(law(rng), kPi); };
  constexpr int kRounds = 20000;
  int reached = 0;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<double> angles(39);
    for (double& x : angles) x = draw();
    if (draw() >= must(conformal_limit(angles, 0.05, 0)).limit) ++reached;
  }
  // 2/40; three standard deviations of the simulation are 0.0046.
  EXPECT_NEAR(reached / double{kRounds}, 0.05, 0.005);
}

TEST(ConformalLimitTest, RefusesWhatSaysNothing) {
  const std::vector<double> angles = {0.5, 0.6};
  EXPECT_EQ(code_of_limit({}, 0.1, 0), "calibration_invalid");
  EXPECT_EQ(code_of_limit(angles, 0, 0), "calibration_invalid");
  EXPECT_EQ(code_of_limit(angles, 1, 0), "calibration_invalid");
  EXPECT_EQ(code_of_limit(angles, 0.1, -1), "calibration_invalid");
  EXPECT_EQ(code_of_limit(std::vector<double>{0.5, std::nan("")}, 0.1, 0), "calibration_invalid");
  EXPECT_EQ(code_of_limit(std::vector<double>{4.0}, 0.1, 0), "calibration_invalid");
}

TEST(SegmentAnglesTest, ReadsWhereTheWorkersDo) {
  CoherenceRecipe recipe;
  recipe.hidden = recipe.dims = 16;
  recipe.half_life = 24;
  recipe.skip_tokens = 4;
  recipe.min_tokens = 8;
  recipe.samples = 100;
  recipe.mean.assign(16, 0.0F);
  recipe.matrix.assign(256, 0.0F);
  for (std::size_t i = 0; i < 16; ++i) recipe.matrix[i * 17] = 1;
  recipe.reference.assign(16, 0.0F);
  recipe.reference[0] = 1;
  const Coherence coherence = must(Coherence::create(recipe));
  const auto angles = [&](std::size_t tokens) {
    std::vector<float> states(tokens * 16, 0.0F);
    // Along the reference for one segment, then across.
    for (std::size_t t = 0; t < tokens; ++t) states[t * 16 + (t < kSegmentTokens ? 0 : 1)] = 1;
    return segment_angles(coherence, states);
  };
  EXPECT_TRUE(angles(0).empty());
  EXPECT_TRUE(angles(11).empty()) << "4 skipped, 7 pooled";
  EXPECT_EQ(angles(12).size(), 1U);
  EXPECT_EQ(angles(32).size(), 1U);
  const auto turned = angles(70);
  ASSERT_EQ(turned.size(), 3U);
  EXPECT_EQ(turned[0], 0);
  EXPECT_GT(turned[1], 0.5);
  EXPECT_GT(turned[2], turned[1]);
}

}  // namespace
}  // namespace fieldprint::test
