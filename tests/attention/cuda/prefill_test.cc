// Prefill on the device: the shared case list against the fp64 reference, and laws that hold
// bit for bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "attention/cuda/harness.h"

namespace fieldprint::testing {
namespace {

// What the kernel takes.
std::vector<AttentionCase> supported_cases() {
  std::vector<AttentionCase> cases = attention_cases();
  std::erase_if(cases, [](const AttentionCase& c) { return c.head_dim == 80; });
  return cases;
}

AttentionCase prompt(int length, int queries, std::uint64_t seed) {
  AttentionCase c;
  c.heads = 8;
  c.kv_heads = 2;
  c.head_dim = 128;
  c.context = chat_context(length);
  c.query_count = queries;
  c.seed = seed;
  return c;
}

// Prompts of mixed lengths, modes and head starts; most with an anchor.
std::vector<AttentionCase> mixed_prompts(int count) {
  std::vector<AttentionCase> cases;
  for (int i = 0; i < count; ++i) {
    const int length = 1 + i * 7919 % 700;
    AttentionCase c = prompt(length, 1 + i * 31 % length, 300 + static_cast<std::uint64_t>(i));
    c.sink_leaf = i % 2 == 0;
    c.anchor_rows = i % 4 == 3 ? 0 : 1 + i * 149 % 512;
    c.mode = static_cast<AnchorMode>(i % 3);
    cases.push_back(c);
  }
  return cases;
}

void expect_last_rows(const DeviceOutput& last, const DeviceOutput& all, const DeviceBatch& batch,
                      const std::string& what) {
  EXPECT_EQ(last.o, all.o) << what;
  for (int i = 0; i < batch.batch(); ++i) {
    const int end = batch.query_starts[static_cast<std::size_t>(i) + 1];
    const DeviceOutput row = rows_of(all, batch, end - 1, end);
    const DeviceOutput of = slice(last, batch, i);
    EXPECT_EQ(of.lse_context, row.lse_context) << what;
    EXPECT_EQ(of.lse_anchor, row.lse_anchor) << what;
    EXPECT_EQ(of.lse_joint, row.lse_joint) << what;
    EXPECT_EQ(of.mass, row.mass) << what;
  }
}

TEST(CudaPrefill, EachCaseAtEveryPageSize) {
  FP_NEEDS_DEVICE();
  const std::vector<AttentionCase> cases = supported_cases();
  ASSERT_GT(cases.size(), 85U);
  for (const AttentionCase& c : cases) {
    const AttentionWorld world = make_world(c);
    for (const int page_rows : {16, 32, 64}) {
      const std::string what = c.name + " page " + std::to_string(page_rows);
      const DeviceBatch batch = lay_out_for_device(world, page_rows);
      const DeviceOutput all = run_prefill(batch);
      expect_matches_reference(all, world, what);
      expect_last_rows(run_prefill(batch, FP_ATTN_ROWS_LAST), all, batch, what);
      if (HasFailure()) return;
    }
  }
}

TEST(CudaPrefill, TogetherPerShape) {
  FP_NEEDS_DEVICE();
  std::map<std::tuple<int, int, int, int>, std::vector<AttentionCase>> shapes;
  for (const AttentionCase& c : supported_cases()) {
    shapes[{c.heads, c.kv_heads, c.head_dim, c.window}].push_back(c);
  }
  for (const auto& [shape, cases] : shapes) {
    const AttentionWorld world = make_world(cases);
    expect_matches_reference(run_prefill(lay_out_for_device(world, 16)), world,
                             "together with " + cases.front().name);
  }
}

// More items than CTAs; anchors of several tiles; every mode.
TEST(CudaPrefill, MixedPrompts) {
  FP_NEEDS_DEVICE();
  const AttentionWorld world = make_world(mixed_prompts(40));
  for (const int page_rows : {16, 64}) {
    const DeviceBatch batch = lay_out_for_device(world, page_rows);
    const DeviceOutput all = run_prefill(batch);
    expect_matches_reference(all, world, "mixed prompts");
    expect_last_rows(run_prefill(batch, FP_ATTN_ROWS_LAST), all, batch, "mixed prompts");
  }
}

TEST(CudaPrefill, LongPrompt) {
  FP_NEEDS_DEVICE();
  AttentionCase c = prompt(2500, 2500, 9);
  c.heads = 4;
  c.kv_heads = 1;
  c.context = plain_context(2500);
  const AttentionWorld world = make_world(c);
  expect_matches_reference(run_prefill(lay_out_for_device(world, 16)), world, "long prompt");
}

TEST(CudaPrefill, ChunkOver128k) {
  FP_NEEDS_DEVICE();
  AttentionCase c = prompt(131072 + 32, 32, 11);
  c.heads = 4;
  c.kv_heads = 1;
  c.context = plain_context(131072 + 32);
  c.anchor_rows = 512;
  c.mode = AnchorMode::kGated;
  const AttentionWorld world = make_world(c);
  expect_matches_reference(run_prefill(lay_out_for_device(world, 16)), world, "over 128k");
}

// Query heads on two KV heads, head_dim, window.
class CudaPrefillChunks : public ::testing::TestWithParam<std::tuple<int, int, int>> {};

// A prompt cut anywhere gives the bits of the whole one; later rows may be there already.
TEST_P(CudaPrefillChunks, DoNotMatter) {
  FP_NEEDS_DEVICE();
  AttentionCase c = prompt(700, 700, 5);
  std::tie(c.heads, c.head_dim, c.window) = GetParam();
  AttentionCase plain = c;
  plain.context = chat_context(300);
  plain.query_count = 300;
  c.anchor_rows = 200;
  c.mode = AnchorMode::kFloored;
  const AttentionWorld world = make_world(std::vector<AttentionCase>{c, plain});
  for (const int page_rows : {16, 32}) {
    const DeviceBatch whole = lay_out_for_device(world, page_rows);
    const DeviceOutput all = run_prefill(whole);
    for (const auto& [from, to] : {std::pair{0, 1}, {1, 38}, {38, 39}, {39, 295}, {295, 300}}) {
      const DeviceBatch chunk = cut_queries(whole, {2 * from, from}, {2 * to, to});
      const DeviceOutput part = run_prefill(chunk);
      const int split = chunk.query_starts[1];
      expect_same_bits(rows_of(part, chunk, 0, split), rows_of(all, whole, 2 * from, 2 * to),
                       "first prompt from " + std::to_string(2 * from));
      expect_same_bits(rows_of(part, chunk, split, chunk.query_starts[2]),
                       rows_of(all, whole, 700 + from, 700 + to),
                       "second prompt from " + std::to_string(from));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, CudaPrefillChunks,
                         ::testing::Values(std::tuple{8, 128, 0}, std::tuple{2, 128, 0},
                                           std::tuple{6, 128, 0}, std::tuple{6, 64, 0},
                                           std::tuple{2, 256, 0}, std::tuple{6, 256, 100},
                                           std::tuple{8, 128, 150}));

TEST(CudaPrefill, AloneEqualsAmongOthers) {
  FP_NEEDS_DEVICE();
  const std::vector<AttentionCase> cases = mixed_prompts(33);
  const DeviceBatch batch = lay_out_for_device(make_world(cases), 16);
  const DeviceOutput all = run_prefill(batch);
  for (std::size_t i = 0; i < cases.size(); i += 4) {
    const DeviceBatch alone = lay_out_for_device(make_world(cases[i], 99), 16, 77);
    expect_same_bits(rows_of(all, batch, batch.query_starts[i], batch.query_starts[i + 1]),
                     run_prefill(alone), "prompt " + std::to_string(i));
  }
}

TEST(CudaPrefill, RepeatedRunsPagesAndPoisonDoNotMatter) {
  FP_NEEDS_DEVICE();
  const AttentionWorld world = make_world(mixed_prompts(21));
  DeviceBatch batch = lay_out_for_device(world, 16, 1);
  const DeviceOutput first = run_prefill(batch);
  for (int run = 0; run < 5; ++run) expect_same_bits(first, run_prefill(batch), "repeated");
  expect_same_bits(first, run_prefill(lay_out_for_device(world, 16, 2)), "other pages");
  for (auto* rows : {&batch.k, &batch.v}) {
    for (std::uint16_t& x : *rows) x = x == 0x7FC0 ? 0x7F80 : x;  // NaN to infinity
  }
  expect_same_bits(first, run_prefill(batch), "infinite poison");
}

// Class labels never touch outputs or log-sum-exps.
TEST(CudaPrefill, ClassesTouchMassOnly) {
  FP_NEEDS_DEVICE();
  const AttentionWorld world = make_world(mixed_prompts(7));
  DeviceBatch batch = lay_out_for_device(world, 16);
  const DeviceOutput before = run_prefill(batch);
  for (std::size_t i = 0; i < batch.pages.size(); i += 2) {
    if (batch.pages[i] != 0xFFFFFFFFU) batch.pages[i] |= 7U << 6;
  }
  const DeviceOutput after = run_prefill(batch);
  EXPECT_EQ(before.o, after.o);
  EXPECT_EQ(before.lse_joint, after.lse_joint);
  EXPECT_NE(before.mass, after.mass);
}

TEST(CudaPrefill, GraphReplaySeesNewQueries) {
  FP_NEEDS_DEVICE();
  const DeviceBatch batch = lay_out_for_device(make_world(mixed_prompts(12)), 16);
  DeviceBatch first = batch;
  for (std::size_t i = 0; i < first.page_counts.size(); ++i) {
    first.page_counts[i] = (first.page_counts[i] + 1) / 2;
    first.query_starts[i + 1] = static_cast<int>(i + 1);
  }
  expect_same_bits(run_prefill_as_graph(batch, first), run_prefill(batch), "graph");
}

// Without queries nothing is read, and the sequence's statistics stay as they were.
TEST(CudaPrefill, SequencesWithoutQueries) {
  FP_NEEDS_DEVICE();
  const std::vector<AttentionCase> cases = mixed_prompts(3);
  const DeviceBatch batch = lay_out_for_device(make_world(cases), 16);
  const int end0 = batch.query_starts[1];
  const int count2 = batch.query_starts[3] - batch.query_starts[2];
  const DeviceBatch some = cut_queries(batch, {0, 0, 0}, {end0, 0, count2});
  const DeviceOutput all = run_prefill(batch);
  const DeviceOutput out = run_prefill(some);
  expect_same_bits(rows_of(out, some, 0, end0), rows_of(all, batch, 0, end0), "first");
  expect_same_bits(rows_of(out, some, end0, end0 + count2),
                   rows_of(all, batch, batch.query_starts[2], batch.query_starts[3]), "third");
  const DeviceOutput last = slice(run_prefill(some, FP_ATTN_ROWS_LAST), some, 1);
  for (const float x : last.lse_joint) EXPECT_TRUE(std::isnan(x));  // the harness's pattern
}

// A query before all rows sees nothing: zeros and minus infinity, not NaN.
TEST(CudaPrefill, NothingVisible) {
  FP_NEEDS_DEVICE();
  AttentionCase c = prompt(40, 20, 3);
  c.anchor_rows = 30;
  AttentionWorld world = make_world(c);
  world.sequences[0]->plan.first_query_pos = -5;
  const DeviceBatch batch = lay_out_for_device(world, 16);
  const DeviceOutput out = run_prefill(batch);
  expect_matches_reference(out, world, "nothing visible");
  EXPECT_TRUE(std::isinf(out.lse_joint[0]));
  EXPECT_EQ(out.o[0] & 0x7FFF, 0);
}

TEST(CudaPrefill, BadTablesAreLoud) {
  FP_NEEDS_DEVICE();
  const DeviceBatch good = lay_out_for_device(make_world(prompt(100, 30, 3)), 16);
  const auto expect_nan = [](const DeviceBatch& batch, std::uint32_t status) {
    const DeviceOutput out = run_prefill(batch);
    EXPECT_EQ(out.table_status, status);
    for (const std::uint16_t o : out.o) EXPECT_TRUE(std::isnan(float_from_bf16(o)));
    for (const float lse : out.lse_joint) EXPECT_TRUE(std::isnan(lse));
    for (const float mass : out.mass) EXPECT_TRUE(std::isnan(mass));
  };
  DeviceBatch bad = good;
  bad.page_counts[0] = bad.page_stride + 1;
  expect_nan(bad, FP_ATTN_TABLE_BAD_PAGE_COUNT);
  bad = good;
  bad.query_starts[1] += 1;
  expect_nan(bad, FP_ATTN_TABLE_BAD_QUERIES);
  bad = good;
  bad.query_starts[0] = bad.query_starts[1] + 1;
  expect_nan(bad, FP_ATTN_TABLE_BAD_QUERIES);
  bad = good;
  bad.pages[1] |= 0x7FFFFFU << 9;
  expect_nan(bad, FP_ATTN_TABLE_BAD_PAGE_ID);
}

}  // namespace
}  // namespace fieldprint::testing
