// Our Q4_1 product against exact arithmetic on the same rounded values, and against
// itself in other batches.
#include "runner/cpu/q4_1.h"

#include <ggml.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace fieldprint::q4_1 {
namespace {

// A random Q4_1 matrix as ggml stores it, and activations.
struct Problem {
  Problem(std::int64_t rows_in, std::int64_t columns_in, std::int64_t tokens_in)
      : rows(rows_in), columns(columns_in), tokens(tokens_in) {
    std::mt19937 random(static_cast<unsigned>(rows * 31 + columns * 7 + tokens));
    std::normal_distribution<float> normal(0.1F, 1.0F);
    std::vector<float> floats(static_cast<std::size_t>(rows * columns));
    for (float& f : floats) f = normal(random);
    blocks.resize(ggml_row_size(GGML_TYPE_Q4_1, columns) * static_cast<std::size_t>(rows));
    ggml_quantize_chunk(GGML_TYPE_Q4_1, floats.data(), blocks.data(), 0, rows, columns, nullptr);
    weights.resize(floats.size());
    ggml_get_type_traits(GGML_TYPE_Q4_1)->to_float(blocks.data(), weights.data(), rows * columns);
    x.resize(static_cast<std::size_t>(tokens * columns));
    for (float& f : x) f = normal(random) * (random() % 7 == 0 ? 30.0F : 1.0F);
    std::fill_n(x.begin(), 32, 0.0F);  // a block of zeros
  }
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t tokens;
  std::vector<std::byte> blocks;
  std::vector<float> weights;  // dequantised
  std::vector<float> x;
};

struct Rounded {
  explicit Rounded(const Problem& p)
      : values(p.x.size()), scale(p.x.size() / kBlock), sum(p.x.size() / kBlock) {
    for (std::int64_t t = 0; t < p.tokens; ++t) {
      quantise(p.x.data() + t * p.columns, p.columns, t, 0, p.columns / kBlock, view());
    }
  }
  QuantisedRows view() { return {values.data(), scale.data(), sum.data()}; }
  std::vector<std::int8_t> values;
  std::vector<float> scale;
  std::vector<float> sum;
};

struct alignas(64) Panel : PanelBlock {};

std::vector<float> multiply(const Problem& p, QuantisedRows x, std::int64_t tokens) {
  std::vector<Panel> panels(static_cast<std::size_t>(p.rows / kPanelRows * p.columns / kBlock));
  pack(p.blocks.data(), p.rows, p.columns, panels.data());
  std::vector<float> out(static_cast<std::size_t>(p.rows * tokens));
  product({panels.data(), p.rows, p.columns}, x, tokens, 0, p.rows / kPanelRows, out.data(),
          p.rows);
  return out;
}

#define SKIP_WITHOUT_VNNI() \
  if (!available()) GTEST_SKIP() << "this CPU has no AVX-512 VNNI: ggml computes Q4_1 here"

TEST(Q41Test, RoundingErrorIsHalfAStep) {
  SKIP_WITHOUT_VNNI();
  const Problem p(16, 96, 5);
  Rounded r(p);
  for (std::size_t i = 0; i < p.x.size(); ++i) {
    const float scale = r.scale[i / kBlock];
    EXPECT_LE(std::abs(p.x[i] - scale * static_cast<float>(r.values[i])), scale * 0.5001F);
  }
}

class Q41ProductTest : public ::testing::TestWithParam<std::array<std::int64_t, 3>> {};

TEST_P(Q41ProductTest, MatchesExactArithmeticOnTheRoundedValues) {
  SKIP_WITHOUT_VNNI();
  const auto [rows, columns, tokens] = GetParam();
  const Problem p(rows, columns, tokens);
  Rounded r(p);
  const auto out = multiply(p, r.view(), tokens);
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t row = 0; row < rows; ++row) {
      double exact = 0;
      double size = 0;
      for (std::int64_t c = 0; c < columns; ++c) {
        const auto at = static_cast<std::size_t>(t * columns + c);
        const double term =
            static_cast<double>(p.weights[static_cast<std::size_t>(row * columns + c)]) *
            r.scale[at / kBlock] * r.values[at];
        exact += term;
        size += std::abs(term);
      }
      ASSERT_NEAR(out[static_cast<std::size_t>(t * rows + row)], exact, 2e-6 * size + 1e-6)
          << "token " << t << " row " << row;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Q41ProductTest,
                         ::testing::Values(std::array<std::int64_t, 3>{16, 32, 1},
                                           std::array<std::int64_t, 3>{48, 96, 7},
                                           std::array<std::int64_t, 3>{64, 576, 8},
                                           std::array<std::int64_t, 3>{32, 1536, 9},
                                           std::array<std::int64_t, 3>{16, 64, 33}));

TEST(Q41Test, BitsDoNotDependOnTheBatch) {
  SKIP_WITHOUT_VNNI();
  const Problem p(64, 576, 19);
  Rounded r(p);
  const auto together = multiply(p, r.view(), p.tokens);
  for (std::int64_t t = 0; t < p.tokens; ++t) {
    const QuantisedRows one{r.values.data() + t * p.columns,
                            r.scale.data() + t * p.columns / kBlock,
                            r.sum.data() + t * p.columns / kBlock};
    const auto alone = multiply(p, one, 1);
    EXPECT_EQ(std::memcmp(alone.data(), together.data() + t * p.rows, alone.size() * sizeof(float)),
              0)
        << "token " << t;
  }
}

}  // namespace
}  // namespace fieldprint::q4_1
