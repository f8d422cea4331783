// Every instruction set gives the bits that the plain formula gives.
#include "supervisor/products.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "supervisor/states.h"

namespace fieldprint::test {
namespace {

constexpr std::size_t kSizes[] = {1, 3, 64, 96, 577};

TEST(ProductsTest, IntegerSumsAreExact) {
  for (const std::size_t n : kSizes) {
    std::mt19937_64 rng(n);
    std::vector<std::int32_t> matrix(5 * n);
    std::vector<std::int32_t> x(n);
    for (auto& value : matrix) value = static_cast<std::int32_t>(rng() % (1U << 25)) - (1 << 24);
    for (auto& value : x) value = static_cast<std::int32_t>(rng() % (1U << 29)) - (1 << 28);
    for (const Products* set : all_products()) {
      std::int64_t out[5] = {};
      set->integer(matrix.data(), x.data(), n, out, 5);
      for (std::size_t r = 0; r < 5; ++r) {
        std::int64_t sum = 0;
        for (std::size_t i = 0; i < n; ++i) sum += std::int64_t{matrix[r * n + i]} * x[i];
        EXPECT_EQ(out[r], sum) << n;
      }
    }
  }
}

TEST(ProductsTest, OrderedSumsHaveTheBitsOfTheirOrder) {
  for (const std::size_t n : kSizes) {
    for (const std::size_t sums : {1U, 16U, 21U, 64U}) {
      const std::vector<float> columns = gaussian_states(n, n * sums, 1e3);
      std::vector<double> x;
      for (const float value : gaussian_states(n + 1, n)) x.push_back(double{value} / 3);
      for (const Products* set : all_products()) {
        std::vector<double> out(sums);
        set->ordered(columns.data(), x.data(), n, out.data(), sums);
        for (std::size_t r = 0; r < sums; ++r) {
          double sum = 0;
          for (std::size_t i = 0; i < n; ++i) sum += double{columns[i * sums + r]} * x[i];
          EXPECT_EQ(std::memcmp(&out[r], &sum, sizeof sum), 0) << n << " " << sums;
        }
      }
    }
  }
}

TEST(ProductsTest, FixedPointIsTheFloorAndRefusesWhatIsOutside) {
  std::vector<float> state = gaussian_states(7, 600, 100);
  for (const float value : {0.0F, -0.0F, 4096.0F, -4096.0F, 0x1p-17F, -0x1p-17F, 0x1p-18F,
                            -0x1.8p-16F, 1e-40F, -1e-40F}) {
    state.push_back(value);
  }
  for (const Products* set : all_products()) {
    std::vector<std::int32_t> x(state.size());
    ASSERT_TRUE(set->fixed_point(state.data(), 4096.0F, x.data(), x.size()));
    for (std::size_t i = 0; i < x.size(); ++i) {
      EXPECT_EQ(x[i], std::floor(double{state[i]} * 65536.0 + 0.5)) << state[i];
    }
    for (const float bad : {4096.5F, -4096.5F, std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()}) {
      for (const std::size_t at : {std::size_t{0}, state.size() / 2, state.size() - 1}) {
        std::vector<float> broken = state;
        broken[at] = bad;
        EXPECT_FALSE(set->fixed_point(broken.data(), 4096.0F, x.data(), x.size()));
      }
    }
  }
}

}  // namespace
}  // namespace fieldprint::test
