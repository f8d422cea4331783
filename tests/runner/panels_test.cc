// Our packed products against exact arithmetic on the same rounded values, and against
// itself in other batches.
#include "runner/cpu/panels.h"

#include <ggml.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace fieldprint::panels {
namespace {

// A random matrix as ggml stores it, and activations.
struct Problem {
  Problem(Format format_in, std::int64_t rows_in, std::int64_t columns_in, std::int64_t tokens_in)
      : format(format_in), rows(rows_in), columns(columns_in), tokens(tokens_in) {
    std::mt19937 random(static_cast<unsigned>(rows * 31 + columns * 7 + tokens));
    std::normal_distribution<float> normal(0.1F, 1.0F);
    std::vector<float> floats(static_cast<std::size_t>(rows * columns));
    for (float& f : floats) f = normal(random);
    blocks.resize(ggml_row_size(type(), columns) * static_cast<std::size_t>(rows));
    ggml_quantize_chunk(type(), floats.data(), blocks.data(), 0, rows, columns, nullptr);
    weights.resize(floats.size());
    ggml_get_type_traits(type())->to_float(blocks.data(), weights.data(), rows * columns);
    x.resize(static_cast<std::size_t>(tokens * columns));
    for (float& f : x) f = normal(random) * (random() % 7 == 0 ? 30.0F : 1.0F);
    std::fill_n(x.begin(), 32, 0.0F);  // a block of zeros
  }
  ggml_type type() const { return format == Format::kQ41 ? GGML_TYPE_Q4_1 : GGML_TYPE_Q8_0; }

  Format format;
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t tokens;
  std::vector<std::byte> blocks;
  std::vector<float> weights;  // dequantised
  std::vector<float> x;
};

struct Rounded {
  explicit Rounded(const Problem& p)
      : values(p.x.size()),
        scale(p.x.size() / kBlock),
        scaled_total(p.x.size() / kBlock),
        total(p.x.size() / kBlock) {
    for (std::int64_t t = 0; t < p.tokens; ++t) {
      quantise(p.x.data() + t * p.columns, p.columns, t, 0, p.columns / kBlock, view());
    }
  }
  QuantisedRows view() { return {values.data(), scale.data(), scaled_total.data(), total.data()}; }
  std::vector<std::int8_t> values;
  std::vector<float> scale;
  std::vector<float> scaled_total;
  std::vector<std::int32_t> total;
};

struct alignas(64) Line {
  std::byte bytes[64];
};

std::vector<Line> packed(const Problem& p) {
  const std::size_t bytes =
      panel_bytes(p.format, p.columns) * static_cast<std::size_t>(p.rows / kPanelRows);
  std::vector<Line> lines((bytes + 63) / 64);
  pack(p.format, p.blocks.data(), p.rows, p.columns, lines[0].bytes);
  return lines;
}

std::vector<float> multiply(const Problem& p, QuantisedRows x, std::int64_t tokens) {
  const std::vector<Line> lines = packed(p);
  std::vector<float> out(static_cast<std::size_t>(p.rows * tokens));
  product({p.format, lines[0].bytes, p.rows, p.columns}, x, tokens, 0, p.rows / kPanelRows,
          out.data(), p.rows);
  return out;
}

#define SKIP_WITHOUT_VNNI() \
  if (!available()) GTEST_SKIP() << "this CPU has no AVX-512 VNNI: ggml computes these here"

TEST(PanelsTest, RoundingErrorIsHalfAStep) {
  SKIP_WITHOUT_VNNI();
  const Problem p(Format::kQ41, 16, 64, 5);
  Rounded r(p);
  for (std::size_t i = 0; i < p.x.size(); ++i) {
    const float scale = r.scale[i / kBlock];
    EXPECT_LE(std::abs(p.x[i] - scale * static_cast<float>(r.values[i])), scale * 0.5001F);
  }
}

struct Shape {
  Format format;
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t tokens;
};

class PanelsProductTest : public ::testing::TestWithParam<Shape> {};

TEST_P(PanelsProductTest, MatchesExactArithmeticOnTheRoundedValues) {
  SKIP_WITHOUT_VNNI();
  const auto [format, rows, columns, tokens] = GetParam();
  const Problem p(format, rows, columns, tokens);
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

INSTANTIATE_TEST_SUITE_P(
    Shapes, PanelsProductTest,
    ::testing::Values(Shape{Format::kQ41, 16, 64, 1}, Shape{Format::kQ41, 48, 128, 7},
                      Shape{Format::kQ41, 64, 576, 8}, Shape{Format::kQ41, 32, 1536, 9},
                      Shape{Format::kQ41, 16, 64, 33}, Shape{Format::kQ80, 16, 64, 1},
                      Shape{Format::kQ80, 48, 576, 9}, Shape{Format::kQ80, 160, 640, 17}));

TEST(PanelsTest, UnpackedRowsAreTheOriginal) {
  for (const Format format : {Format::kQ41, Format::kQ80}) {
    const Problem p(format, 48, 192, 1);
    const std::vector<Line> lines = packed(p);
    std::vector<float> row(192);
    for (std::int64_t r = 0; r < p.rows; ++r) {
      unpack_row({format, lines[0].bytes, p.rows, p.columns}, r, row.data());
      for (std::int64_t c = 0; c < p.columns; ++c) {
        ASSERT_FLOAT_EQ(row[static_cast<std::size_t>(c)],
                        p.weights[static_cast<std::size_t>(r * p.columns + c)]);
      }
    }
  }
}

TEST(PanelsTest, BitsDoNotDependOnTheBatch) {
  SKIP_WITHOUT_VNNI();
  for (const Format format : {Format::kQ41, Format::kQ80}) {
    const Problem p(format, 64, 576, 19);
    Rounded r(p);
    const auto together = multiply(p, r.view(), p.tokens);
    for (std::int64_t t = 0; t < p.tokens; ++t) {
      const std::int64_t block = t * p.columns / kBlock;
      const QuantisedRows one{r.values.data() + t * p.columns, r.scale.data() + block,
                              r.scaled_total.data() + block, r.total.data() + block};
      const auto alone = multiply(p, one, 1);
      EXPECT_EQ(
          std::memcmp(alone.data(), together.data() + t * p.rows, alone.size() * sizeof(float)), 0)
          << "token " << t;
    }
  }
}

}  // namespace
}  // namespace fieldprint::panels
