#include "engine/logits.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "engine/counter_rng.h"

namespace fieldprint {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<float> random_row(std::size_t size, unsigned seed, int levels = 0) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0.0F, 4.0F);
  std::vector<float> row(size);
  for (float& v : row) {
    v = normal(rng);
    if (levels > 0) v = std::round(v * static_cast<float>(levels)) / static_cast<float>(levels);
  }
  return row;
}

// Known answers of the Random123 distribution.
TEST(CounterRng, PhiloxKnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (PhiloxBlock{0x6627e8d5U, 0xe169c58dU, 0xbc57ac4cU, 0x9b00dbd8U}));
  const std::uint32_t f = 0xffffffffU;
  EXPECT_EQ(philox4x32({f, f, f, f}, {f, f}),
            (PhiloxBlock{0x408f276dU, 0x41c83b0eU, 0xa20bc7c6U, 0x6d5451fdU}));
  EXPECT_EQ(
      philox4x32({0x243f6a88U, 0x85a308d3U, 0x13198a2eU, 0x03707344U}, {0xa4093822U, 0x299f31d0U}),
      (PhiloxBlock{0xd16cfe09U, 0x94fdccebU, 0x5001e420U, 0x24126ea1U}));
}

TEST(CounterRng, UniformStaysInRangeAndUsesAllOfSeedAndStep) {
  double sum = 0.0;
  for (std::uint64_t step = 0; step < 4096; ++step) {
    const double u = uniform_at(7, step);
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
  }
  EXPECT_NEAR(sum / 4096, 0.5, 0.02);  // 4.4 standard deviations
  EXPECT_NE(uniform_at(7, 1), uniform_at(8, 1));
  EXPECT_NE(uniform_at(7, 1), uniform_at(7 + (1ULL << 32), 1));
  EXPECT_NE(uniform_at(7, 1), uniform_at(7, 1 + (1ULL << 32)));
}

TEST(Logits, MaxIsTheFirstOfEqualsAtEverySizeAndPlace) {
  for (const std::size_t size : {1U, 15U, 16U, 17U, 1023U, 1024U, 1025U, 4100U}) {
    for (const std::size_t place : {std::size_t{0}, size / 2, size - 1}) {
      std::vector<float> row(size, -3.0F);
      row[place] = 2.0F;
      row[size - 1] = 2.0F;
      const LogitMax max = find_max(row);
      ASSERT_TRUE(max.finite);
      EXPECT_EQ(max.token, static_cast<TokenId>(place)) << size;
      EXPECT_EQ(max.value, 2.0F);
    }
  }
}

TEST(Logits, NonFiniteValuesAreSeenAnywhere) {
  for (const float bad : {kInf, -kInf, std::numeric_limits<float>::quiet_NaN()}) {
    for (const std::size_t place : {0U, 5U, 1030U, 2052U}) {
      std::vector<float> row(2053, 1.0F);
      row[place] = bad;
      EXPECT_FALSE(find_max(row).finite) << bad << " at " << place;
    }
  }
}

TEST(Logits, ExpIsCloseToTheTrueOne) {
  for (int i = 0; i <= 87000; ++i) {
    const float x = static_cast<float>(-i) / 1000.0F;
    const double expected = std::exp(static_cast<double>(x));
    ASSERT_NEAR(static_cast<double>(exp_negative(x)) / expected, 1.0, 3e-7) << x;
  }
  EXPECT_EQ(exp_negative(0.0F), 1.0F);
  EXPECT_EQ(exp_negative(-87.5F), 0.0F);
  EXPECT_EQ(exp_negative(-1e30F), 0.0F);
  EXPECT_EQ(exp_negative(-kInf), 0.0F);
}

TEST(Logits, LogSumExpMatchesDoublePrecision) {
  const std::vector<float> row = random_row(5000, 1);
  const float max = find_max(row).value;
  double sum = 0.0;
  for (const float v : row) sum += std::exp(static_cast<double>(v - max));
  EXPECT_NEAR(log_sum_exp(row, max), static_cast<double>(max) + std::log(sum), 1e-6);
}

TEST(Logits, TopNEqualsAFullSort) {
  for (const int levels : {0, 1}) {  // 1: many equal values
    const std::vector<float> row = random_row(3000, 2, levels);
    std::vector<Candidate> sorted;
    for (std::size_t i = 0; i < row.size(); ++i)
      sorted.push_back({static_cast<TokenId>(i), row[i]});
    std::sort(sorted.begin(), sorted.end(), ranks_before);
    for (const std::size_t n : {0U, 1U, 2U, 31U, 33U, 500U, 3000U, 9000U}) {
      std::vector<Candidate> out;
      top_n(row, n, -kInf, out);
      ASSERT_EQ(out.size(), std::min<std::size_t>(n, row.size()));
      for (std::size_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i].token, sorted[i].token) << n;
    }
    std::vector<Candidate> out;
    top_n(row, 100, 8.0F, out);
    const auto above = std::count_if(row.begin(), row.end(), [](float v) { return v >= 8.0F; });
    ASSERT_GT(above, 0);
    EXPECT_EQ(out.size(), std::min<std::size_t>(100, static_cast<std::size_t>(above)));
  }
}

TEST(Logits, NucleusIsTheOneAFullSortFinds) {
  for (const int levels : {0, 1}) {
    for (const float inverse_temperature : {0.5F, 1.0F, 3.0F}) {
      for (const double share : {0.001, 0.3, 0.9, 0.9999}) {
        const std::vector<float> row = random_row(3000, 3, levels);
        const float max = find_max(row).value;
        std::vector<float> weights(row.size());
        const double total = softmax_weights(row, max, inverse_temperature, -kInf, weights);
        std::vector<Candidate> sorted;
        for (std::size_t i = 0; i < row.size(); ++i) {
          sorted.push_back({static_cast<TokenId>(i), row[i]});
        }
        std::sort(sorted.begin(), sorted.end(), ranks_before);
        const std::vector<float> before = weights;
        std::vector<Candidate> scratch;
        const double left =
            keep_nucleus(row, max, inverse_temperature, total * share, weights, scratch);
        double mass = 0.0;
        for (const Candidate& c : sorted) {
          const auto token = static_cast<std::size_t>(c.token);
          const bool kept = mass < total * share;
          ASSERT_EQ(weights[token], kept ? before[token] : 0.0F) << share << ' ' << c.token;
          if (kept) mass += static_cast<double>(before[token]);
        }
        EXPECT_NEAR(left, mass, 1e-9 * total);
      }
    }
  }
}

TEST(Logits, NucleusOfEverythingKeepsEverything) {
  const std::vector<float> row(1000, 2.0F);
  std::vector<float> weights(row.size());
  const double total = softmax_weights(row, 2.0F, 1.0F, -kInf, weights);
  std::vector<Candidate> scratch;
  EXPECT_EQ(keep_nucleus(row, 2.0F, 1.0F, total * 1.001, weights, scratch), total);
}

}  // namespace
}  // namespace fieldprint
