// Sliding windows in decode: against the reference, and laws that hold bit for bit. Prefill's are
// in the shared case list and among the chunks of prefill_test.cc.
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

// Sequences on both sides of the window's length, with anchors at their start and without.
std::vector<AttentionCase> windowed(const Shape& shape, int window, int count) {
  std::vector<AttentionCase> cases;
  for (int i = 0; i < count; ++i) {
    AttentionCase c;
    c.heads = shape.heads;
    c.kv_heads = shape.kv_heads;
    c.head_dim = shape.head_dim;
    c.window = window;
    c.context = chat_context(i == 0 ? 3000 : 1 + i * 7919 % 1400);
    c.sink_leaf = i % 3 != 2;
    c.anchor_rows = i % 4 == 3 ? 0 : 1 + i * 149 % 512;
    c.mode = static_cast<AnchorMode>(i % 3);
    c.seed = 500 + static_cast<std::uint64_t>(i);
    cases.push_back(c);
  }
  return cases;
}

class CudaWindow : public ::testing::TestWithParam<std::tuple<Shape, int>> {};

TEST_P(CudaWindow, MatchesTheReferenceAloneAndTogether) {
  FP_NEEDS_DEVICE();
  const auto& [shape, window] = GetParam();
  const std::vector<AttentionCase> cases = windowed(shape, window, 24);
  const AttentionWorld world = make_decode_world(cases);
  const DeviceBatch batch = lay_out_for_device(world, 16);
  const DeviceOutput all = run_on_device(batch);
  expect_matches_reference(all, world, "window " + std::to_string(window));
  expect_matches_reference(run_on_device(lay_out_for_device(world, 64)), world, "pages of 64");
  for (std::size_t i = 0; i < cases.size(); i += 3) {
    const DeviceBatch alone = lay_out_for_device(make_decode_world({cases[i]}, 99), 16, 77);
    expect_same_bits(slice(all, batch, static_cast<int>(i)), run_on_device(alone),
                     "sequence " + std::to_string(i));
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, CudaWindow,
                         ::testing::Combine(::testing::Values(Shape{8, 2, 128}, Shape{6, 2, 64},
                                                              Shape{4, 1, 256}),
                                            ::testing::Values(1, 100, 512, 700)));

// One anchor, sequences whose windows end in different rows of it: their columns share rows.
TEST(CudaWindowLaws, SharedAnchorHidesRowsPerSequence) {
  FP_NEEDS_DEVICE();
  std::vector<AttentionCase> cases = windowed({8, 2, 128}, 700, 12);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    cases[i].context = chat_context(100 + 60 * static_cast<int>(i));
    cases[i].sink_leaf = true;
    cases[i].anchor_rows = 512;
  }
  AttentionWorld world = make_decode_world(cases);
  for (auto& sequence : world.sequences) sequence->plan.anchor = world.sequences[0]->plan.anchor;
  for (const int page_rows : {16, 32}) {
    expect_matches_reference(run_on_device(lay_out_for_device(world, page_rows)), world, "shared");
  }
}

TEST(CudaWindowLaws, AWideWindowChangesNoBit) {
  FP_NEEDS_DEVICE();
  const AttentionWorld world = make_decode_world(windowed({8, 2, 128}, 4000, 9));
  DeviceBatch batch = lay_out_for_device(world, 16);
  const DeviceOutput wide = run_on_device(batch);
  batch.window = 0;
  expect_same_bits(wide, run_on_device(batch), "no window");
}

// Slabs before the window are not read: they may hold anything.
TEST(CudaWindowLaws, WhatIsHiddenDoesNotMatter) {
  FP_NEEDS_DEVICE();
  std::vector<AttentionCase> cases = windowed({8, 2, 128}, 200, 1);
  cases[0].anchor_rows = 0;
  DeviceBatch batch = lay_out_for_device(make_decode_world(cases), 16);
  const DeviceOutput before = run_on_device(batch);
  const std::size_t rows = static_cast<std::size_t>(batch.shape.kv_heads) * 16 * 128;
  const int query = batch.page_positions[static_cast<std::size_t>(batch.page_counts[0]) - 1];
  int poisoned = 0;
  for (std::size_t page = 0; batch.page_positions[page] < query - 200 - 16; ++page, ++poisoned) {
    const std::size_t at = (batch.pages[page] >> 9) * rows;
    for (auto* pool : {&batch.k, &batch.v}) std::fill_n(pool->begin() + at, rows, 0x7FC0);
  }
  ASSERT_GT(poisoned, 100);
  expect_same_bits(before, run_on_device(batch), "poisoned");
}

}  // namespace
}  // namespace fieldprint::testing
