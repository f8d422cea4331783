// An exact anchor, joint and without beta, is a cached prefix of the same tokens, bit for bit:
// the same rows, once as an anchor and once as pages between the sequence's two cuts.
#include <gtest/gtest.h>

#include <tuple>

#include "attention/cuda/harness.h"

namespace fieldprint::testing {
namespace {

struct Shape {
  int heads;
  int kv_heads;
  int head_dim;
};

// Row `of` of a rectangular table, without its padding.
template <typename T>
std::vector<T> row(const std::vector<T>& table, int stride, int of, int count) {
  const auto first = table.begin() + static_cast<std::ptrdiff_t>(stride) * of;
  return {first, first + count};
}

template <typename T>
void append(std::vector<T>& to, const std::vector<T>& from, int stride) {
  to.insert(to.end(), from.begin(), from.end());
  to.resize(to.size() + static_cast<std::size_t>(stride) - from.size(),
            static_cast<T>(0xFFFFFFFFU));
}

// The batch with each anchor as pages of its sequences.
DeviceBatch with_prefixes(const DeviceBatch& anchored) {
  DeviceBatch plain = anchored;
  plain.page_stride += anchored.anchor_stride;
  plain.pages.clear();
  plain.page_positions.clear();
  for (int i = 0; i < anchored.batch(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    const int id = anchored.anchor_ids[at];
    const int count = anchored.page_counts[at];
    auto pages = row(anchored.pages, anchored.page_stride, i, count);
    auto positions = row(anchored.page_positions, anchored.page_stride, i, count);
    const int cut = anchored.cuts[2 * at];
    if (id >= 0) {
      const int more = anchored.anchor_page_counts[static_cast<std::size_t>(id)];
      const auto rows = row(anchored.anchor_pages, anchored.anchor_stride, id, more);
      const auto where = row(anchored.anchor_positions, anchored.anchor_stride, id, more);
      pages.insert(pages.begin() + cut, rows.begin(), rows.end());
      positions.insert(positions.begin() + cut, where.begin(), where.end());
      plain.page_counts[at] += more;
      plain.cuts[2 * at + 1] = cut + more;
      plain.anchor_ids[at] = -1;
    }
    append(plain.pages, pages, plain.page_stride);
    append(plain.page_positions, positions, plain.page_stride);
  }
  return plain;
}

std::vector<AttentionCase> exact_cases(const Shape& shape, int count, int window) {
  std::vector<AttentionCase> cases;
  for (int i = 0; i < count; ++i) {
    AttentionCase c;
    c.heads = shape.heads;
    c.kv_heads = shape.kv_heads;
    c.head_dim = shape.head_dim;
    c.window = window;
    c.context = chat_context(i == 0 ? 5000 : 1 + i * 7919 % 1300);
    c.sink_leaf = i % 3 != 2;
    constexpr int kRows[] = {512, 1, 37, 200, 128, 16, 500};
    c.anchor_rows = i % 8 == 7 ? 0 : kRows[i % 8];
    c.beta = i % 2 == 0 ? BetaKind::kNone : BetaKind::kZero;
    c.seed = 700 + static_cast<std::uint64_t>(i);
    cases.push_back(c);
  }
  return cases;
}

// What both must agree in; the sides' own log-sum-exps differ, since one has no anchor side.
void expect_same_softmax(const DeviceOutput& anchored, const DeviceOutput& plain,
                         const std::string& what) {
  EXPECT_EQ(anchored.table_status, 0U) << what;
  EXPECT_EQ(plain.table_status, 0U) << what;
  EXPECT_EQ(anchored.o, plain.o) << what;
  EXPECT_EQ(anchored.lse_joint, plain.lse_joint) << what;
  EXPECT_EQ(plain.lse_context, plain.lse_joint) << what;
  EXPECT_EQ(anchored.mass, plain.mass) << what;
}

class CudaExactAnchor : public ::testing::TestWithParam<std::tuple<Shape, int, int>> {};

TEST_P(CudaExactAnchor, DecodeEqualsACachedPrefix) {
  FP_NEEDS_DEVICE();
  const auto& [shape, window, page_rows] = GetParam();
  const std::vector<AttentionCase> cases = exact_cases(shape, 41, window);
  const AttentionWorld world = make_decode_world(cases);
  const DeviceBatch batch = lay_out_for_device(world, page_rows);
  const DeviceOutput anchored = run_on_device(batch);
  const DeviceBatch prefixed = with_prefixes(batch);
  const DeviceOutput plain = run_on_device(prefixed);
  expect_same_softmax(anchored, plain, "together");
  for (int i = 0; i < 8; ++i) {  // alone on one side, among others on the other
    const AttentionCase& c = cases[static_cast<std::size_t>(i)];
    const DeviceBatch alone = lay_out_for_device(make_decode_world({c}), page_rows);
    const std::string what = "sequence " + std::to_string(i);
    expect_same_softmax(run_on_device(alone), slice(plain, prefixed, i), what);
    expect_same_softmax(slice(anchored, batch, i), run_on_device(with_prefixes(alone)), what);
  }
}

TEST_P(CudaExactAnchor, PrefillEqualsACachedPrefix) {
  FP_NEEDS_DEVICE();
  const auto& [shape, window, page_rows] = GetParam();
  std::vector<AttentionCase> cases = exact_cases(shape, 12, window);
  for (AttentionCase& c : cases) {
    int length = 0;
    for (const Segment& s : c.context) length += s.rows;
    c.query_count = std::min(length, 300);
  }
  const AttentionWorld world = make_world(cases);
  const DeviceBatch batch = lay_out_for_device(world, page_rows);
  const DeviceOutput anchored = run_prefill(batch);
  expect_same_softmax(anchored, run_prefill(with_prefixes(batch)), "prefill");
}

// A shared anchor, one item for many sequences, against each one's own prefix.
TEST(CudaExactAnchorShared, EqualsEachSequencesPrefix) {
  FP_NEEDS_DEVICE();
  std::vector<AttentionCase> cases = exact_cases({8, 2, 128}, 21, 0);
  for (AttentionCase& c : cases) c.sink_leaf = true;
  AttentionWorld world = make_decode_world(cases);
  for (auto& sequence : world.sequences) sequence->plan.anchor = world.sequences[0]->plan.anchor;
  const DeviceBatch batch = lay_out_for_device(world, 16);
  ASSERT_EQ(batch.modes.size(), 1U);
  const DeviceOutput anchored = run_on_device(batch);
  expect_same_softmax(anchored, run_on_device(with_prefixes(batch)), "shared");
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, CudaExactAnchor,
    ::testing::Values(std::tuple{Shape{8, 2, 128}, 0, 16}, std::tuple{Shape{2, 2, 128}, 0, 64},
                      std::tuple{Shape{6, 2, 64}, 0, 32}, std::tuple{Shape{16, 2, 128}, 0, 16},
                      std::tuple{Shape{4, 1, 256}, 0, 16}, std::tuple{Shape{8, 2, 128}, 700, 16},
                      std::tuple{Shape{4, 1, 256}, 300, 16}));

// The cuts themselves: wherever they are, the answer is right; nonsense is named.
TEST(CudaCuts, AnywhereAndNowhere) {
  FP_NEEDS_DEVICE();
  const AttentionWorld world = make_decode_world(exact_cases({8, 2, 128}, 3, 0));
  DeviceBatch batch = lay_out_for_device(world, 16);
  const int count = batch.page_counts[0];
  for (const auto& [first, second] : {std::pair{0, count}, {7, 100}, {count, count}, {33, 33}}) {
    batch.cuts[0] = first;
    batch.cuts[1] = second;
    expect_matches_reference(run_on_device(batch), world, "cut at " + std::to_string(first));
  }
  for (const auto& [first, second] : {std::pair{-1, 3}, {5, 4}, {0, count + 1}}) {
    batch.cuts[0] = first;
    batch.cuts[1] = second;
    const DeviceOutput out = run_on_device(batch);
    EXPECT_EQ(out.table_status, FP_ATTN_TABLE_BAD_CUTS);
    for (const float lse : out.lse_joint) EXPECT_TRUE(std::isnan(lse));
  }
}

}  // namespace
}  // namespace fieldprint::testing
