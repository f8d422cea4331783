// KV append against fp64 arithmetic on the host.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "attention/bf16.h"
#include "attention/cuda/harness.h"
#include "attention/cuda/kv_harness.h"

namespace fieldprint::testing {
namespace {

struct AppendCase {
  fp_attn_shape shape;
  fp_kv_rope_spec rope;
  bool factors;
  bool fused;  // q, k and v in one matrix, q turned in place
};

// Three sequences: pages of several classes, some partly filled, tokens in mixed order.
struct Step {
  std::vector<std::uint32_t> pages;
  std::vector<std::int32_t> page_counts;
  std::vector<std::int32_t> sequences, slots, positions;
  std::vector<std::uint8_t> classes;
  int page_stride = 3;

  Step(int page_rows, std::uint64_t seed) : page_counts{3, 1, 2} {
    std::mt19937_64 rng(seed);
    int page = 10;  // of 11: descending, so that physical order is not logical order
    for (int s = 0; s < 3; ++s) {
      for (int p = 0; p < page_stride; ++p) {
        const int cls = (s + 2 * p) % 8;
        const int rows = p % 2 == 0 ? page_rows - s : 5;
        pages.push_back(p < page_counts[s] ? pack_entry(page--, cls, rows) : 0xFFFFFFFFU);
        if (p >= page_counts[s]) continue;
        for (int row = 0; row < rows; ++row) {
          if (rng() % 3 == 0) continue;
          sequences.push_back(s);
          slots.push_back(p * page_rows + row);
          positions.push_back(static_cast<int>(rng() % 131073));
          classes.push_back(static_cast<std::uint8_t>(cls));
        }
      }
    }
    positions[0] = 131072;
    positions[1] = 0;
    positions[2] = 131071;
    for (std::size_t i = sequences.size() - 1; i > 0; --i) {
      const std::size_t j = rng() % (i + 1);
      std::swap(sequences[i], sequences[j]);
      std::swap(slots[i], slots[j]);
      std::swap(positions[i], positions[j]);
      std::swap(classes[i], classes[j]);
    }
  }
  int tokens() const { return static_cast<int>(sequences.size()); }
};

// The step and one layer's rows on the device.
struct DeviceAppend {
  DeviceAppend(const Step& step, const AppendCase& c, KvTestCache& test_cache)
      : test(test_cache),
        pages(step.pages),
        page_counts(step.page_counts),
        sequences(step.sequences),
        slots(step.slots),
        positions(step.positions),
        classes(step.classes),
        status(std::vector<std::uint32_t>{0}),
        width(
            static_cast<std::size_t>((c.shape.q_heads + 2 * c.shape.kv_heads) * c.shape.head_dim)),
        q_width(static_cast<std::size_t>(c.shape.q_heads * c.shape.head_dim)),
        rows(random_rows(static_cast<std::size_t>(step.tokens()) * width)),
        matrix(rows),
        q_out(static_cast<std::size_t>(step.tokens()) * q_width),
        fused(c.fused) {
    for (int i = 0; i < 128; ++i) factors.push_back(1.0F + 0.37F * static_cast<float>(i % 5));
    fp_kv_rope_spec spec = c.rope;
    if (c.factors) spec.factors = factors.data();
    EXPECT_EQ(fp_kv_make_rope(&spec, &rope), FP_KV_OK);
    tables.pages = pages.get();
    tables.page_counts = page_counts.get();
    tables.page_stride = step.page_stride;
    tables.batch = static_cast<int>(step.page_counts.size());
    tokens = {sequences.get(), slots.get(), positions.get(), classes.get(), step.tokens()};
    const auto kv = static_cast<std::size_t>(c.shape.kv_heads * c.shape.head_dim);
    const auto stride = static_cast<std::int64_t>(width);
    args.q = matrix.get();
    args.k = matrix.get() + q_width;
    args.v = matrix.get() + q_width + kv;
    args.q_out = fused ? matrix.get() : q_out.get();
    args.q_stride = args.k_stride = args.v_stride = stride;
    args.q_out_stride = fused ? stride : static_cast<std::int64_t>(q_width);
    args.status = status.get();
  }

  static std::vector<std::uint16_t> random_rows(std::size_t count) {
    std::mt19937_64 rng(5);
    std::normal_distribution<float> normal(0.0F, 2.0F);
    std::vector<std::uint16_t> rows(count);
    for (std::uint16_t& x : rows) x = bf16_from_float(normal(rng));
    return rows;
  }

  void launch(cudaStream_t stream = nullptr) {
    EXPECT_EQ(fp_kv_append(&test.cache, 1, &tables, &tokens, &rope, &args, stream), FP_KV_OK);
  }
  void run() {
    launch();
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  }
  std::uint32_t status_bits() const { return status.download(1)[0]; }

  // q of a token after the step.
  std::vector<std::uint16_t> turned_q(int token) const {
    const std::size_t stride = fused ? width : q_width;
    const auto all =
        (fused ? matrix : q_out).download(static_cast<std::size_t>(tokens.tokens) * stride);
    const auto first = all.begin() + static_cast<std::ptrdiff_t>(stride) * token;
    return {first, first + static_cast<std::ptrdiff_t>(q_width)};
  }

  KvTestCache& test;
  DeviceArray<std::uint32_t> pages;
  DeviceArray<std::int32_t> page_counts, sequences, slots, positions;
  DeviceArray<std::uint8_t> classes;
  DeviceArray<std::uint32_t> status;
  std::size_t width, q_width;
  std::vector<std::uint16_t> rows;  // [tokens][q, k, v]
  DeviceArray<std::uint16_t> matrix, q_out;
  bool fused;
  std::vector<float> factors;
  fp_kv_rope rope{};
  fp_attn_tables tables{};
  fp_kv_tokens tokens{};
  fp_kv_append_args args{};
};

// RoPE of one row, in fp64 and from the formula.
std::vector<double> turned(const std::uint16_t* row, int dim, const AppendCase& c,
                           const std::vector<float>& factors, int position) {
  std::vector<double> x(static_cast<std::size_t>(dim));
  for (int i = 0; i < dim; ++i) x[static_cast<std::size_t>(i)] = double{float_from_bf16(row[i])};
  const int pairs = c.rope.dims / 2;
  for (int i = 0; i < pairs; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const double factor = c.factors ? double{factors[at]} : 1.0;
    const double angle = position * std::pow(double{c.rope.base}, -2.0 * i / c.rope.dims) *
                         double{c.rope.scale} / factor;
    const bool halves = c.rope.style == FP_KV_ROPE_HALVES;
    double& a = x[halves ? at : 2 * at];
    double& b = x[halves ? at + static_cast<std::size_t>(pairs) : 2 * at + 1];
    const double turned_a = a * std::cos(angle) - b * std::sin(angle);
    b = a * std::sin(angle) + b * std::cos(angle);
    a = turned_a;
  }
  return x;
}

// Nearest bf16, but for what fp32 arithmetic may lose before the rounding.
void expect_rounded(const std::uint16_t* got, const std::vector<double>& want, double size,
                    const std::string& what) {
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double half_step = std::ldexp(1.0, std::ilogb(std::max(std::abs(want[i]), 1e-30)) - 8);
    const double error = std::abs(double{float_from_bf16(got[i])} - want[i]);
    ASSERT_LE(error, half_step * 1.0000001 + 1e-6 * size) << what << " element " << i;
  }
}

void expect_appended(const AppendCase& c, const Step& step, const DeviceAppend& run,
                     const KvTestCache& test) {
  std::vector<std::uint16_t> k = test.download(2);
  std::vector<std::uint16_t> v = test.download(3);
  std::vector<std::uint16_t> want_k = test.host[2];
  std::vector<std::uint16_t> want_v = test.host[3];
  const int dim = c.shape.head_dim;
  constexpr double kSize = 12.0;  // no |x| above it in random_rows(), nearly
  for (int t = 0; t < step.tokens(); ++t) {
    const auto at = static_cast<std::size_t>(t);
    const std::uint16_t* row = run.rows.data() + at * run.width;
    const std::vector<std::uint16_t> q = run.turned_q(t);
    const std::string name = "token " + std::to_string(t);
    for (int h = 0; h < c.shape.q_heads; ++h, row += dim) {
      expect_rounded(q.data() + h * dim, turned(row, dim, c, run.factors, step.positions[at]),
                     kSize, name + " q");
    }
    const auto place = static_cast<std::size_t>(step.sequences[at] * step.page_stride +
                                                step.slots[at] / c.shape.page_rows);
    const int page = static_cast<int>(step.pages[place] >> 9);
    for (int h = 0; h < c.shape.kv_heads; ++h, row += dim) {
      const std::size_t to = test.row_at(page, h, step.slots[at] % c.shape.page_rows);
      const std::uint16_t* v_row = row + c.shape.kv_heads * dim;
      expect_rounded(k.data() + to, turned(row, dim, c, run.factors, step.positions[at]), kSize,
                     name + " k");
      for (std::size_t i = 0; i < static_cast<std::size_t>(dim); ++i) {
        want_k[to + i] = k[to + i];  // checked above
        want_v[to + i] = v_row[i];
      }
    }
  }
  EXPECT_EQ(k, want_k) << "K rows of no token changed";
  EXPECT_EQ(v, want_v) << "V";
  EXPECT_EQ(test.download(0), test.host[0]) << "another layer changed";
}

const fp_kv_rope_spec kLlama{FP_KV_ROPE_ADJACENT, 128, 500000.0F, 1.0F, nullptr};

TEST(KvAppend, MatchesFp64UpTo131072) {
  FP_NEEDS_DEVICE();
  const AppendCase cases[] = {
      {{64, 9, 3, 16}, {FP_KV_ROPE_ADJACENT, 64, 10000.0F, 1.0F, nullptr}, false, false},
      {{64, 4, 4, 64}, {FP_KV_ROPE_HALVES, 32, 10000.0F, 0.25F, nullptr}, false, true},
      {{128, 32, 8, 16}, kLlama, true, true},
      {{128, 28, 4, 32}, {FP_KV_ROPE_HALVES, 128, 1000000.0F, 1.0F, nullptr}, false, false},
      {{128, 8, 8, 64}, {FP_KV_ROPE_ADJACENT, 96, 10000.0F, 1.0F, nullptr}, true, false},
      {{256, 4, 1, 16}, {FP_KV_ROPE_HALVES, 256, 1000000.0F, 0.125F, nullptr}, false, true},
      {{256, 16, 8, 64}, {FP_KV_ROPE_HALVES, 16, 10000.0F, 1.0F, nullptr}, true, false},
      {{128, 40, 40, 16}, {FP_KV_ROPE_HALVES, 0, 10000.0F, 1.0F, nullptr}, false, false},
  };
  for (const AppendCase& c : cases) {
    SCOPED_TRACE(c.shape.head_dim * 1000 + c.shape.q_heads * 10 + c.rope.style);
    const Step step(c.shape.page_rows, 11);
    KvTestCache test(c.shape, 2, 11);
    DeviceAppend run(step, c, test);
    run.run();
    EXPECT_EQ(run.status_bits(), 0U);
    expect_appended(c, step, run, test);
  }
}

TEST(KvAppend, WithoutQueries) {
  FP_NEEDS_DEVICE();
  const AppendCase c{{128, 0, 2, 16}, kLlama, false, false};
  const Step step(16, 3);
  KvTestCache test(c.shape, 2, 11);
  DeviceAppend run(step, c, test);
  run.args.q = run.args.q_out = nullptr;
  run.run();
  expect_appended(c, step, run, test);
}

// What the device finds wrong is named, not written, and makes the token's q NaN.
TEST(KvAppend, WrongTokensAreLoud) {
  FP_NEEDS_DEVICE();
  const AppendCase c{
      {64, 4, 2, 16}, {FP_KV_ROPE_HALVES, 64, 10000.0F, 1.0F, nullptr}, false, false};
  const auto expect_refused = [&](std::uint32_t bit, const auto& spoil) {
    Step step(16, 4);
    spoil(step);
    KvTestCache test(c.shape, 2, 11);
    DeviceAppend run(step, c, test);
    run.tokens.tokens = 1;
    run.run();
    EXPECT_EQ(run.status_bits(), bit);
    EXPECT_EQ(test.download(2), test.host[2]);
    EXPECT_EQ(test.download(3), test.host[3]);
    for (const std::uint16_t q : run.turned_q(0)) EXPECT_TRUE(std::isnan(float_from_bf16(q)));
  };
  const auto entry_of = [](Step& s) -> std::uint32_t& {
    return s.pages[static_cast<std::size_t>(s.sequences[0] * s.page_stride + s.slots[0] / 16)];
  };
  expect_refused(FP_KV_BAD_SEQUENCE, [](Step& s) { s.sequences[0] = 3; });
  expect_refused(FP_KV_BAD_SEQUENCE, [](Step& s) { s.sequences[0] = -2; });
  expect_refused(FP_KV_BAD_SLOT, [](Step& s) { s.slots[0] = 16 * 3; });
  expect_refused(FP_KV_BAD_SLOT, [](Step& s) { s.slots[0] = -1; });
  expect_refused(FP_KV_BAD_SLOT, [&](Step& s) {  // the entry has fewer rows
    s.slots[0] |= 15;
    entry_of(s) &= ~63U;
  });
  expect_refused(FP_KV_BAD_CLASS, [](Step& s) { s.classes[0] ^= 1U; });
  expect_refused(FP_KV_BAD_CLASS, [](Step& s) { s.classes[0] = 255; });
  expect_refused(FP_KV_BAD_PAGE_ID,
                 [&](Step& s) { entry_of(s) = (entry_of(s) & 511U) | 11U << 9; });
  expect_refused(FP_KV_BAD_POSITION, [](Step& s) { s.positions[0] = -1; });
}

// One graph serves steps of different lengths: the rest of the token arrays is padding.
TEST(KvAppend, PaddingInAGraph) {
  FP_NEEDS_DEVICE();
  const AppendCase c{{128, 4, 2, 16}, kLlama, false, false};
  const Step full(16, 6);
  KvTestCache test(c.shape, 2, 11);
  DeviceAppend run(full, c, test);
  std::vector<std::int32_t> none(full.sequences.size(), -1);
  run.sequences.upload(none);
  TestGraph graph([&](cudaStream_t stream) { run.launch(stream); });
  graph.replay();
  EXPECT_EQ(run.status_bits(), 0U);
  EXPECT_EQ(test.download(2), test.host[2]);
  for (const std::uint16_t q : run.turned_q(0)) EXPECT_EQ(q, 0xFFFFU) << "padding was written";
  run.sequences.upload(full.sequences);
  graph.replay();
  expect_appended(c, full, run, test);
}

}  // namespace
}  // namespace fieldprint::testing
