#include "supervisor/coherence.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <numbers>
#include <sstream>

#include "supervisor/coherence_fit.h"
#include "supervisor/states.h"
#include "supervisor/symmetric.h"

namespace fieldprint::test {
namespace {

constexpr std::size_t kHidden = 64;
constexpr double kPi = std::numbers::pi;

TEST(SymmetricTest, EigenvaluesOfKnownMatrices) {
  // The second difference matrix has eigenvalues 2 - 2 cos(i pi / (n+1)).
  constexpr std::size_t kN = 40;
  std::vector<double> a(kN * kN, 0.0);
  for (std::size_t i = 0; i < kN; ++i) {
    a[i * kN + i] = 2;
    if (i + 1 < kN) a[i * kN + i + 1] = a[(i + 1) * kN + i] = -1;
  }
  auto eigen = must(symmetric_eigen(a, kN));
  std::vector<double> sorted = eigen.values;
  std::ranges::sort(sorted);
  for (std::size_t i = 0; i < kN; ++i) {
    const double expected = 2 - 2 * std::cos(static_cast<double>(i + 1) * kPi / (kN + 1));
    EXPECT_NEAR(sorted[i], expected, 1e-12);
  }
  // A v = lambda v, and the vectors are orthonormal.
  for (std::size_t k = 0; k < kN; ++k) {
    const double* v = eigen.vectors.data() + k * kN;
    for (std::size_t i = 0; i < kN; ++i) {
      double product = 0;
      for (std::size_t j = 0; j < kN; ++j) product += a[i * kN + j] * v[j];
      EXPECT_NEAR(product, eigen.values[k] * v[i], 1e-12);
    }
  }
  const auto root = must(inverse_square_root(a, kN));  // (A^-1/2 A A^-1/2) = 1
  std::vector<double> half(kN * kN, 0.0);
  for (std::size_t i = 0; i < kN * kN; ++i) {
    for (std::size_t k = 0; k < kN; ++k) half[i] += root[i / kN * kN + k] * a[k * kN + i % kN];
  }
  for (std::size_t i = 0; i < kN * kN; ++i) {
    double entry = 0;
    for (std::size_t k = 0; k < kN; ++k) entry += half[i / kN * kN + k] * root[k * kN + i % kN];
    EXPECT_NEAR(entry, i / kN == i % kN ? 1 : 0, 1e-10);
  }
}

TEST(SymmetricTest, RefusesWhatHasNoRoot) {
  EXPECT_EQ(inverse_square_root(std::vector<double>{1, 0, 0, 0}, 2).error().code,
            "matrix_not_positive");
  EXPECT_EQ(inverse_square_root(std::vector<double>{0, 0, 0, 0}, 2).error().code,
            "matrix_not_positive");
  EXPECT_EQ(inverse_square_root(std::vector<double>{1, 2, 2, 1}, 2).error().code,
            "matrix_not_positive");
  EXPECT_EQ(symmetric_eigen(std::vector<double>{1, NAN, NAN, 1}, 2).error().code,
            "matrix_not_finite");
}

TEST(GeodesicAngleTest, KeepsItsDigitsNearZeroAndPi) {
  std::mt19937_64 rng(1);
  std::normal_distribution<double> normal;
  for (const double angle : {1e-12, 1e-9, 1e-5, 0.3, kPi / 2, 2.0, kPi - 1e-5, kPi - 1e-9}) {
    for (int round = 0; round < 20; ++round) {
      // q = cos p + sin u with u orthogonal to p, both of length 1.
      std::vector<double> p(24, 0.0);
      std::vector<double> q(24, 0.0);
      p[0] = 1;
      q[0] = std::cos(angle);
      q[1] = std::sin(angle);
      const double turn = normal(rng);  // the same rotation of both in the plane of axes 0 and 2
      for (auto* v : {&p, &q}) {
        const double x = (*v)[0];
        (*v)[0] = std::cos(turn) * x;
        (*v)[2] = std::sin(turn) * x;
      }
      const double got = geodesic_angle(p, q);
      const double expected = angle;
      EXPECT_NEAR(got, expected, 1e-15 + 4e-16 * expected) << angle;
      EXPECT_EQ(geodesic_angle(q, p), got);
      std::vector<double> longer = q;
      for (double& x : longer) x *= 0x1p40;
      EXPECT_EQ(geodesic_angle(p, longer), got);
    }
  }
  const std::vector<double> p{3, -4, 0.5};
  const std::vector<double> opposite{-3, 4, -0.5};
  EXPECT_EQ(geodesic_angle(p, p), 0);
  EXPECT_EQ(geodesic_angle(p, opposite), kPi);
}

TEST(GeodesicAngleTest, HasNoAnswerWithoutADirection) {
  const std::vector<double> p{1, 2};
  EXPECT_TRUE(std::isnan(geodesic_angle(p, std::vector<double>{0, 0})));
  EXPECT_TRUE(std::isnan(geodesic_angle(std::vector<double>{NAN, 1}, p)));
  EXPECT_TRUE(std::isnan(
      geodesic_angle(p, std::vector<double>{std::numeric_limits<double>::infinity(), 0})));
  // Lengths at the ends of the range have directions.
  EXPECT_NEAR(geodesic_angle(std::vector<double>{1e300, 1e300}, std::vector<double>{1e-300, 0}),
              kPi / 4, 1e-15);
}

// States with scales from 0.1 to 100, correlated, with an offset of their own; the anchor adds
// `lift` times a fixed direction.
std::vector<float> states(std::uint64_t seed, std::size_t count, double lift) {
  std::mt19937_64 rng(seed);
  std::normal_distribution<double> normal;
  std::vector<float> out;
  for (std::size_t n = 0; n < count; ++n) {
    const double common = normal(rng);
    for (std::size_t i = 0; i < kHidden; ++i) {
      const double scale = std::pow(10.0, -1 + 3.0 * static_cast<double>(i % 7) / 6);
      const double x = 5 + normal(rng) + 0.8 * common + lift * std::sin(static_cast<double>(i));
      out.push_back(static_cast<float>(scale * x));
    }
  }
  return out;
}

CoherenceFitOptions options() {
  CoherenceFitOptions o;
  o.layer = 3;
  o.dims = 16;
  o.half_life = 16;
  o.skip_tokens = 2;
  return o;
}

double angle_after(const Coherence& coherence, std::span<const float> sequence) {
  CoherenceState pooled;
  for (std::size_t at = 0; at < sequence.size(); at += kHidden) {
    coherence.step(pooled, sequence.subspan(at, kHidden));
  }
  const auto reading = coherence.read(pooled);
  EXPECT_TRUE(reading.ready);
  return reading.angle;
}

TEST(CoherenceFitTest, WhitensWithinTheGroups) {
  const auto background = states(1, 3000, 0.0);
  const auto anchored = states(2, 3000, 0.6);
  const auto recipe = must(fit_coherence(kHidden, background, anchored, options()));
  EXPECT_LT(recipe.shrinkage_ppm, 50000);
  const Coherence coherence = must(Coherence::create(recipe));
  const auto fresh = states(3, 3000, 0.0);
  constexpr std::size_t kDims = 16;
  std::vector<double> mean(kDims);
  std::vector<double> second(kDims * kDims);
  std::vector<double> x(kDims);
  for (std::size_t n = 0; n < 3000; ++n) {
    coherence.project(std::span(fresh).subspan(n * kHidden, kHidden), x);
    for (std::size_t i = 0; i < kDims; ++i) {
      mean[i] += x[i] / 3000;
      for (std::size_t j = 0; j < kDims; ++j) second[i * kDims + j] += x[i] * x[j] / 3000;
    }
  }
  for (std::size_t i = 0; i < kDims; ++i) {
    EXPECT_NEAR(mean[i], 0, 0.15);
    for (std::size_t j = 0; j < kDims; ++j) {
      EXPECT_NEAR(second[i * kDims + j], i == j ? 1 : 0, 0.2) << i << " " << j;
    }
  }
}

// cos(angle) ~ m / sqrt(m^2 + d/w), w = (1+r)/(1-r) for exponential pooling at rest.
TEST(CoherenceFitTest, HealthyAnglesAreWhereTheoryPutsThem) {
  const auto recipe =
      must(fit_coherence(kHidden, states(1, 2000, 0.0), states(2, 2000, 0.6), options()));
  const Coherence coherence = must(Coherence::create(recipe));
  const auto more = states(5, 4000, 0.6);
  std::vector<double> mean(16);
  std::vector<double> x(16);
  for (std::size_t n = 0; n < 4000; ++n) {
    coherence.project(std::span(more).subspan(n * kHidden, kHidden), x);
    for (std::size_t i = 0; i < 16; ++i) mean[i] += x[i] / 4000;
  }
  double m2 = 0;
  for (const double v : mean) m2 += v * v;
  const double r = std::exp2(-1.0 / 16);
  const double w = (1 + r) / (1 - r);
  double healthy = 0;
  double other = 0;
  for (std::uint64_t s = 0; s < 100; ++s) {
    healthy += std::cos(angle_after(coherence, states(100 + s, 150, 0.6))) / 100;
    other += angle_after(coherence, states(300 + s, 150, 0.0)) / 100;
  }
  EXPECT_NEAR(healthy, std::sqrt(m2 / (m2 + 15.0 / w)), 0.02);
  EXPECT_NEAR(other, kPi / 2, 0.1);  // no direction of its own: a right angle on average
  EXPECT_GT(angle_after(coherence, states(9, 150, -0.6)), 2.5);
}

// Scaling and shifting single dimensions of every state changes nothing but rounding. A power of
// two does not round; a shift costs the floats some of their digits.
TEST(CoherenceFitTest, UnitsOfDimensionsDoNotMatter) {
  const auto scaled = [](std::vector<float> values) {
    for (std::size_t at = 0; at < values.size(); ++at) {
      values[at] *= std::ldexp(1.0F, static_cast<int>(at % kHidden) % 5 - 2);
    }
    return values;
  };
  const auto shifted = [](std::vector<float> values) {
    for (std::size_t at = 0; at < values.size(); ++at) {
      values[at] += static_cast<float>(at % kHidden % 3);
    }
    return values;
  };
  const auto background = states(1, 500, 0.0);
  const auto anchored = states(2, 500, 0.5);
  const auto fit = [](std::span<const float> a, std::span<const float> b) {
    return must(Coherence::create(must(fit_coherence(kHidden, a, b, options()))));
  };
  const Coherence before = fit(background, anchored);
  const Coherence after_scaling = fit(scaled(background), scaled(anchored));
  const Coherence after_shift = fit(shifted(background), shifted(anchored));
  for (std::uint64_t s = 0; s < 10; ++s) {
    const auto sequence = states(50 + s, 40, 0.3);
    const double angle = angle_after(before, sequence);
    EXPECT_NEAR(angle_after(after_scaling, scaled(sequence)), angle, 1e-9);
    EXPECT_NEAR(angle_after(after_shift, shifted(sequence)), angle, 2e-3);
  }
}

TEST(CoherenceFitTest, FewSamplesAreShrunkMore) {
  const auto few = must(fit_coherence(kHidden, states(1, 40, 0.0), states(2, 40, 0.5), options()));
  const auto many =
      must(fit_coherence(kHidden, states(1, 2000, 0.0), states(2, 2000, 0.5), options()));
  EXPECT_GT(few.shrinkage_ppm, 5 * many.shrinkage_ppm);
  auto o = options();
  o.shrinkage = 1;  // no whitening at all is allowed, and is what it says
  const auto none = must(fit_coherence(kHidden, states(1, 40, 0.0), states(2, 40, 0.5), o));
  EXPECT_EQ(none.shrinkage_ppm, 1000000);
}

TEST(CoherenceFitTest, RefusesDegenerateSamples) {
  const auto code = [](std::span<const float> a, std::span<const float> b,
                       const CoherenceFitOptions& o) {
    const auto fit = fit_coherence(kHidden, a, b, o);
    return fit ? std::string("fitted") : fit.error().code;
  };
  const std::string invalid = "coherence_fit_invalid";
  const auto good = states(1, 100, 0.0);
  auto bad = states(2, 100, 0.5);
  EXPECT_EQ(code(good, bad, options()), "fitted");
  EXPECT_EQ(code(good, std::span(bad).first(31 * kHidden), options()), invalid);
  EXPECT_EQ(code(good, good, options()), invalid);  // no contrast
  EXPECT_EQ(code(std::vector<float>(100 * kHidden, 1.0F), std::vector<float>(100 * kHidden, 2.0F),
                 options()),
            invalid);       // no variance
  std::vector<float> flat;  // variance in one direction only
  std::vector<float> flat_too;
  for (std::size_t n = 0; n < 100; ++n) {
    for (std::size_t i = 0; i < kHidden; ++i) {
      flat.push_back(static_cast<float>(n % 10) * static_cast<float>(1 + i));
      flat_too.push_back(flat.back() + static_cast<float>(i % 2));
    }
  }
  EXPECT_EQ(code(flat, flat_too, options()), invalid);
  bad[77] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(code(good, bad, options()), invalid);
  auto o = options();
  o.dims = 15;
  EXPECT_EQ(code(good, good, o), invalid);
  o = options();
  o.shrinkage = std::nan("");
  EXPECT_EQ(code(good, good, o), invalid);
}

class CoherenceTest : public ::testing::Test {
 protected:
  const CoherenceRecipe recipe_ =
      must(fit_coherence(kHidden, states(1, 200, 0.0), states(2, 200, 0.5), options()));
  const Coherence coherence_ = must(Coherence::create(recipe_));
};

TEST_F(CoherenceTest, PoolingSkipsWaitsAndIsAValue) {
  const auto sequence = states(3, 30, 0.5);
  const auto state_at = [&](std::size_t n) {
    return std::span(sequence).subspan(n * kHidden, kHidden);
  };
  CoherenceState pooled;
  const std::vector<float> poison(kHidden, std::nanf(""));
  coherence_.step(pooled, poison);  // skipped tokens are not even looked at
  coherence_.step(pooled, poison);
  for (std::size_t n = 0; n < 7; ++n) coherence_.step(pooled, state_at(n));
  EXPECT_FALSE(coherence_.read(pooled).ready);
  coherence_.step(pooled, state_at(7));
  EXPECT_TRUE(coherence_.read(pooled).ready);
  CoherenceState copy = pooled;
  coherence_.step(pooled, state_at(8));
  coherence_.step(copy, state_at(8));
  EXPECT_EQ(coherence_.read(pooled).angle, coherence_.read(copy).angle);

  // One pooled value by hand: half of the weight is gone after half_life tokens.
  std::vector<double> x(16);
  double expected = 0;
  for (std::size_t n = 0; n <= 8; ++n) {
    coherence_.project(state_at(n), x);
    expected += x[5] * std::exp2(-static_cast<double>(8 - n) / 16);
  }
  EXPECT_NEAR(pooled.sum[5], expected, 1e-9 * std::fabs(expected) + 1e-12);
}

TEST_F(CoherenceTest, AStateThatIsNoneLeavesNoAngle) {
  auto sequence = states(3, 40, 0.5);
  sequence[20 * kHidden + 7] = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(std::isnan(angle_after(coherence_, sequence)));
  // Exactly the mean has no direction either.
  std::vector<float> mean;
  for (int n = 0; n < 12; ++n) mean.insert(mean.end(), recipe_.mean.begin(), recipe_.mean.end());
  EXPECT_TRUE(std::isnan(angle_after(coherence_, mean)));
}

TEST_F(CoherenceTest, DirectionIsTheUnitVectorThatTheAngleIsOf) {
  const auto sequence = states(3, 30, 0.5);
  CoherenceState pooled;
  EXPECT_TRUE(coherence_.direction(pooled).empty());
  for (std::size_t n = 0; n < 30; ++n) {
    coherence_.step(pooled, std::span(sequence).subspan(n * kHidden, kHidden));
  }
  const std::vector<float> unit = coherence_.direction(pooled);
  ASSERT_EQ(unit.size(), recipe_.reference.size());
  const std::vector<double> p(unit.begin(), unit.end());
  const std::vector<double> q(recipe_.reference.begin(), recipe_.reference.end());
  double square = 0;
  for (const double x : p) square += x * x;
  EXPECT_NEAR(square, 1, 1e-6);
  EXPECT_NEAR(geodesic_angle(p, q), coherence_.read(pooled).angle, 1e-6);
  pooled.broken = true;
  EXPECT_TRUE(coherence_.direction(pooled).empty());
}

TEST_F(CoherenceTest, RecipeIsReadBackAndChecked) {
  const std::string text = print_coherence_recipe(recipe_);
  const auto again = must(parse_coherence_recipe(text));
  EXPECT_EQ(print_coherence_recipe(again), text);
  EXPECT_EQ(coherence_.recipe_digest(), sha256(text));
  const std::pair<std::string, std::string> changes[] = {
      {"\"dims\":16", "\"dims\":17"},       {"\"dims\":16", "\"dims\":15"},
      {"\"hidden\":64", "\"hidden\":65"},   {"\"hidden\":64", "\"hidden\":1048577"},
      {"\"layer\":3", "\"layer\":-1"},      {"\"half_life\":16", "\"half_life\":0"},
      {"\"version\":1", "\"version\":2"},   {"\"mean\":\"", "\"mean\":\"!"},
      {"\"samples\":400", "\"samples\":0"}, {"-recipe", "-receipt"},
      {"\"layer\"", "\"layers\""},          {"}", " }"}};
  for (const auto& [from, to] : changes) {
    std::string bad = text;
    ASSERT_NE(bad.find(from), std::string::npos) << from;
    bad.replace(bad.find(from), from.size(), to);
    const auto parsed = parse_coherence_recipe(bad);
    ASSERT_FALSE(parsed) << to;
    EXPECT_EQ(parsed.error().code, "coherence_recipe_invalid");
  }
  for (const float value : {std::nanf(""), 2.0F}) {
    auto bad = recipe_;
    bad.reference[0] = value;
    EXPECT_FALSE(Coherence::create(bad));
  }
  auto bad = recipe_;
  bad.matrix.pop_back();
  EXPECT_FALSE(Coherence::create(bad));
}

// The vector of docs/formats/coherence.md.
TEST(CoherenceFormatTest, GivesTheVectorOfTheFormatPage) {
  std::ifstream in(FP_SOURCE_DIR "/fuzz/corpus/supervisor_recipe/coherence");
  std::stringstream text;
  text << in.rdbuf();
  const Coherence coherence = must(Coherence::create(must(parse_coherence_recipe(text.str()))));
  std::ifstream page_in(FP_SOURCE_DIR "/docs/formats/coherence.md");
  std::stringstream page;
  page << page_in.rdbuf();
  EXPECT_NE(page.str().find("`" + digest_string(coherence.recipe_digest()) + "`"),
            std::string::npos);
  std::vector<float> state(16, 0.5F);
  state[0] = state[1] = 1.5F;
  CoherenceState pooled;
  for (int t = 0; t < 11; ++t) coherence.step(pooled, state);
  EXPECT_FALSE(coherence.read(pooled).ready);
  coherence.step(pooled, state);
  EXPECT_TRUE(coherence.read(pooled).ready);
  EXPECT_NEAR(coherence.read(pooled).angle, kPi / 4, 1e-15);
}

}  // namespace
}  // namespace fieldprint::test
