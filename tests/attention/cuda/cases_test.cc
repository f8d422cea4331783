// The shared case list on the device, at every page size, alone and as one batch.
#include <gtest/gtest.h>

#include <map>
#include <tuple>

#include "attention/cuda/harness.h"

namespace fieldprint::testing {
namespace {

// What the kernels take.
bool supported(const AttentionCase& c) {
  return c.query_count == 1 && c.head_dim != 80 && c.heads / c.kv_heads <= 8;
}

std::vector<AttentionCase> supported_cases() {
  std::vector<AttentionCase> cases = attention_cases();
  std::erase_if(cases, [](const AttentionCase& c) { return !supported(c); });
  return cases;
}

TEST(CudaCases, EachAloneAtEveryPageSize) {
  FP_NEEDS_DEVICE();
  const std::vector<AttentionCase> cases = supported_cases();
  ASSERT_GT(cases.size(), 45U);
  for (const AttentionCase& c : cases) {
    const AttentionWorld world = make_decode_world({c});
    for (const int page_rows : {16, 32, 64}) {
      expect_matches_reference(run_on_device(lay_out_for_device(world, page_rows)), world,
                               c.name + " page " + std::to_string(page_rows));
    }
  }
}

TEST(CudaCases, TogetherPerShape) {
  FP_NEEDS_DEVICE();
  std::map<std::tuple<int, int, int, int>, std::vector<AttentionCase>> shapes;
  for (const AttentionCase& c : supported_cases()) {
    shapes[{c.heads, c.kv_heads, c.head_dim, c.window}].push_back(c);
  }
  for (const auto& [shape, cases] : shapes) {
    const AttentionWorld world = make_decode_world(cases);
    expect_matches_reference(run_on_device(lay_out_for_device(world, 16)), world,
                             "together with " + cases.front().name);
  }
}

// Llama-like shape; long enough for the CTA-wide combine; several anchors in one batch.
TEST(CudaCases, LongMixedBatch) {
  FP_NEEDS_DEVICE();
  std::vector<AttentionCase> cases;
  int seed = 50;
  for (const int length : {20000, 1, 513, 4096, 17, 9000}) {
    AttentionCase c;
    c.heads = 8;
    c.kv_heads = 2;
    c.head_dim = 128;
    c.context = chat_context(length);
    c.anchor_rows = length % 2 == 0 ? 512 : 0;
    c.mode = length == 4096 ? AnchorMode::kGated : AnchorMode::kFloored;
    c.seed = static_cast<std::uint64_t>(seed++);
    cases.push_back(c);
  }
  const AttentionWorld world = make_decode_world(cases);
  expect_matches_reference(run_on_device(lay_out_for_device(world, 16)), world, "long mixed");
}

TEST(CudaCases, Context128k) {
  FP_NEEDS_DEVICE();
  AttentionCase c;
  c.heads = 4;
  c.kv_heads = 1;
  c.head_dim = 128;
  c.context = plain_context(131072);
  c.anchor_rows = 512;
  const AttentionWorld world = make_decode_world({c});
  expect_matches_reference(run_on_device(lay_out_for_device(world, 16)), world, "128k");
}

// A sequence may have no rows at all, or only an anchor.
TEST(CudaCases, EmptySides) {
  FP_NEEDS_DEVICE();
  for (const AnchorMode mode : {AnchorMode::kJoint, AnchorMode::kGated, AnchorMode::kFloored}) {
    AttentionCase full;
    full.context = chat_context(100);
    full.anchor_rows = 40;
    full.mode = mode;
    AttentionCase no_context = full;
    no_context.context = {{KvClass::kUser, 0}};
    AttentionCase nothing = no_context;
    nothing.anchor_rows = 0;
    AttentionCase absent = no_context;
    absent.beta = BetaKind::kAllAbsent;
    const AttentionWorld world = make_decode_world({no_context, full, nothing, absent});
    const DeviceBatch batch = lay_out_for_device(world, 16);
    const DeviceOutput out = run_on_device(batch);
    expect_matches_reference(out, world, "empty sides");
    for (const int index : {2, 3}) {
      for (const std::uint16_t o : slice(out, batch, index).o) EXPECT_EQ(o & 0x7FFF, 0);
    }
  }
}

}  // namespace
}  // namespace fieldprint::testing
