// Bits of a sequence never depend on its neighbours, on physical pages or on graphs.
#include <gtest/gtest.h>

#include "attention/cuda/harness.h"

namespace fieldprint::testing {
namespace {

AttentionCase sequence_case(int length, std::uint64_t seed, int heads) {
  AttentionCase c;
  c.heads = heads;
  c.kv_heads = 2;
  c.head_dim = 64;
  c.context = chat_context(length);
  c.seed = seed;
  return c;
}

// `count` sequences of mixed lengths; three of four use one of three shared anchors.
std::vector<AttentionCase> mixed(int count, int heads) {
  std::vector<AttentionCase> cases;
  for (int i = 0; i < count; ++i) {
    AttentionCase c =
        sequence_case(1 + (i * 7919) % 900, 100 + static_cast<std::uint64_t>(i), heads);
    if (i < 3) {
      c.anchor_rows = i == 0 ? 512 : 37 + 100 * i;
      c.mode = static_cast<AnchorMode>(i);
    }
    cases.push_back(c);
  }
  return cases;
}

AttentionWorld shared_world(const std::vector<AttentionCase>& cases, std::uint64_t seed) {
  AttentionWorld world = make_decode_world(cases, seed);
  for (std::size_t i = 3; i < world.sequences.size(); ++i) {
    if (i % 4 == 3) continue;  // without an anchor
    world.sequences[i]->plan.anchor = world.sequences[i % 4]->plan.anchor;
  }
  return world;
}

// Sequence i alone, with the anchor it has in the batch.
DeviceBatch alone(const std::vector<AttentionCase>& cases, std::size_t i) {
  if (i < 3 || i % 4 == 3) return lay_out_for_device(make_decode_world({cases[i]}, 99), 16, 77);
  AttentionWorld world = make_decode_world({cases[i], cases[i % 4]}, 99);
  world.sequences[0]->plan.anchor = world.sequences[1]->plan.anchor;
  DeviceBatch batch = lay_out_for_device(world, 16, 77);
  batch.page_counts.resize(1);  // the second sequence only lent its anchor
  batch.anchor_ids.resize(1);
  batch.q.resize(batch.q.size() / 2);
  return batch;
}

class CudaInvariance : public ::testing::TestWithParam<int> {};

TEST_P(CudaInvariance, AloneEqualsAmongOthers) {
  FP_NEEDS_DEVICE();
  const int heads = GetParam();
  for (const int count : {2, 17, 64, 256}) {
    const std::vector<AttentionCase> cases = mixed(count, heads);
    const AttentionWorld world = shared_world(cases, 11);
    const DeviceBatch batch = lay_out_for_device(world, 16);
    const DeviceOutput all = run_on_device(batch);
    if (count == 64) expect_matches_reference(all, world, "mixed batch");
    for (int i = 0; i<count; i += count> 64 ? 5 : 1) {
      const DeviceBatch small = alone(cases, static_cast<std::size_t>(i));
      expect_same_bits(slice(all, batch, i), slice(run_on_device(small), small, 0),
                       "sequence " + std::to_string(i) + " of " + std::to_string(count));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Groups, CudaInvariance, ::testing::Values(2, 6, 8, 16));

TEST(CudaInvarianceRuns, RepeatedRunsGiveTheSameBits) {
  FP_NEEDS_DEVICE();
  const std::vector<AttentionCase> cases = mixed(33, 8);
  const DeviceBatch batch = lay_out_for_device(shared_world(cases, 5), 32);
  const DeviceOutput first = run_on_device(batch);
  for (int run = 0; run < 5; ++run) expect_same_bits(first, run_on_device(batch), "run");
}

TEST(CudaInvarianceRuns, PhysicalPagesDoNotMatter) {
  FP_NEEDS_DEVICE();
  const std::vector<AttentionCase> cases = mixed(9, 8);
  const AttentionWorld world = shared_world(cases, 5);
  const DeviceOutput a = run_on_device(lay_out_for_device(world, 16, 1));
  const DeviceOutput b = run_on_device(lay_out_for_device(world, 16, 2));
  expect_same_bits(a, b, "pages permuted");
}

TEST(CudaInvarianceRuns, GraphReplaySeesNewLengths) {
  FP_NEEDS_DEVICE();
  const std::vector<AttentionCase> cases = mixed(12, 8);
  const DeviceBatch batch = lay_out_for_device(shared_world(cases, 5), 16);
  std::vector<std::int32_t> shorter = batch.page_counts;
  for (std::int32_t& count : shorter) count /= 3;
  expect_same_bits(run_as_graph(batch, shorter), run_on_device(batch), "graph");
}

}  // namespace
}  // namespace fieldprint::testing
