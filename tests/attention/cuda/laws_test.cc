// Laws that hold whatever the numbers are: cheap, and they catch what a tolerance hides.
#include <gtest/gtest.h>

#include <cmath>

#include "attention/cuda/harness.h"

namespace fieldprint::testing {
namespace {

AttentionCase base_case() {
  AttentionCase c;
  c.heads = 8;
  c.kv_heads = 2;
  c.head_dim = 128;
  c.context = chat_context(700);
  c.anchor_rows = 130;
  c.seed = 5;
  return c;
}

void expect_near_outputs(const DeviceOutput& a, const DeviceOutput& b, double tolerance) {
  ASSERT_EQ(a.o.size(), b.o.size());
  for (std::size_t i = 0; i < a.o.size(); ++i) {
    ASSERT_NEAR(float_from_bf16(a.o[i]), float_from_bf16(b.o[i]), tolerance) << i;
  }
  for (std::size_t i = 0; i < a.lse_joint.size(); ++i) {
    ASSERT_NEAR(a.lse_joint[i], b.lse_joint[i], 1e-4) << i;
  }
}

float mass_of(const DeviceOutput& out, std::size_t head, KvClass cls) {
  return out.mass[head * kKvClasses + static_cast<std::size_t>(cls)];
}

TEST(CudaLaws, SplittingAClassSplitsItsMass) {
  FP_NEEDS_DEVICE();
  const AttentionWorld world = make_decode_world({base_case()});
  DeviceBatch batch = lay_out_for_device(world, 16);
  const DeviceOutput whole = run_on_device(batch);
  int changed = 0;
  for (std::uint32_t& entry : batch.pages) {
    const bool user = ((entry >> 6) & 7U) == static_cast<std::uint32_t>(KvClass::kUser);
    if (user && changed++ % 2 == 0) entry |= 7U << 6;  // to the reserved class
  }
  ASSERT_GT(changed, 4);
  const DeviceOutput split = run_on_device(batch);
  EXPECT_EQ(whole.o, split.o);
  EXPECT_EQ(whole.lse_anchor, split.lse_anchor);
  for (std::size_t h = 0; h < 8; ++h) {
    EXPECT_GT(mass_of(split, h, KvClass::kReserved), 0.0F);
    EXPECT_NEAR(mass_of(whole, h, KvClass::kUser),
                mass_of(split, h, KvClass::kUser) + mass_of(split, h, KvClass::kReserved), 1e-6);
  }
}

TEST(CudaLaws, ADuplicateRowIsBetaPlusLogTwo) {
  FP_NEEDS_DEVICE();
  AttentionCase c = base_case();
  c.beta = BetaKind::kZero;
  c.anchor_rows = 32;
  const AttentionWorld world = make_decode_world({c});
  DeviceBatch twice = lay_out_for_device(world, 16);
  // Both anchor pages name the first one: each of its rows appears twice.
  twice.anchor_pages[1] = twice.anchor_pages[0];
  DeviceBatch heavier = twice;
  heavier.anchor_page_counts[0] = 1;
  heavier.has_beta = true;
  for (float& beta : heavier.beta) beta += std::log(2.0F);
  expect_near_outputs(run_on_device(twice), run_on_device(heavier), 0.02);
}

TEST(CudaLaws, AnAbsentRowCountsForNothing) {
  FP_NEEDS_DEVICE();
  AttentionCase c = base_case();
  c.anchor_rows = 32;
  const AttentionWorld world = make_decode_world({c});
  DeviceBatch masked = lay_out_for_device(world, 16);
  for (std::size_t i = 16; i < masked.beta.size(); i += 512) {
    for (std::size_t row = 0; row < 16; ++row) {
      masked.beta[i + row] = -std::numeric_limits<float>::infinity();
    }
  }
  DeviceBatch shorter = lay_out_for_device(world, 16);
  shorter.anchor_page_counts[0] = 1;
  expect_same_bits(run_on_device(masked), run_on_device(shorter), "absent rows");
}

TEST(CudaLaws, GammaZeroIsContextAndOneIsAnchor) {
  FP_NEEDS_DEVICE();
  AttentionCase c = base_case();
  c.mode = AnchorMode::kGated;
  const AttentionWorld world = make_decode_world({c});
  DeviceBatch batch = lay_out_for_device(world, 16);
  batch.gamma.assign(batch.gamma.size(), 0.0F);
  DeviceBatch without = batch;
  without.anchor_ids.assign(1, -1);
  EXPECT_EQ(run_on_device(batch).o, run_on_device(without).o);
  batch.gamma.assign(batch.gamma.size(), 1.0F);
  DeviceBatch only = batch;
  only.page_counts[0] = 0;
  const DeviceOutput one = run_on_device(batch);
  EXPECT_EQ(one.o, run_on_device(only).o);
  for (std::size_t h = 0; h < 8; ++h) EXPECT_NEAR(mass_of(one, h, KvClass::kAnchor), 1.0, 1e-6);
}

// gated(g) = joint with the bias logit(g) + L_c - L_a on every anchor row.
TEST(CudaLaws, GatedIsJointWithABias) {
  FP_NEEDS_DEVICE();
  AttentionCase c = base_case();
  c.heads = 2;  // one query head per KV head, because beta is per KV head
  c.mode = AnchorMode::kGated;
  const AttentionWorld world = make_decode_world({c});
  DeviceBatch gated = lay_out_for_device(world, 16);
  gated.gamma.assign(gated.gamma.size(), 0.3F);
  const DeviceOutput want = run_on_device(gated);
  DeviceBatch joint = gated;
  joint.modes.assign(1, static_cast<std::uint8_t>(AnchorMode::kJoint));
  for (std::size_t g = 0; g < 2; ++g) {
    const float bias = std::log(0.3F / 0.7F) + want.lse_context[g] - want.lse_anchor[g];
    for (std::size_t row = 0; row < 512; ++row) joint.beta[g * 512 + row] += bias;
  }
  const DeviceOutput got = run_on_device(joint);
  for (std::size_t i = 0; i < want.o.size(); ++i) {
    ASSERT_NEAR(float_from_bf16(got.o[i]), float_from_bf16(want.o[i]), 0.01) << i;
  }
  for (std::size_t h = 0; h < 2; ++h) EXPECT_NEAR(mass_of(got, h, KvClass::kAnchor), 0.3, 1e-4);
}

// In joint mode with beta 0 an anchor is nothing but rows seen first.
TEST(CudaLaws, JointAnchorEqualsPrefix) {
  FP_NEEDS_DEVICE();
  AttentionCase c = base_case();
  c.beta = BetaKind::kZero;
  c.anchor_rows = 512;
  const AttentionWorld world = make_decode_world({c});
  const DeviceBatch anchored = lay_out_for_device(world, 16);
  DeviceBatch prefixed = anchored;
  prefixed.pages = anchored.anchor_pages;
  prefixed.pages.insert(prefixed.pages.end(), anchored.pages.begin(), anchored.pages.end());
  prefixed.page_counts[0] += anchored.anchor_page_counts[0];
  prefixed.page_stride = prefixed.page_counts[0];
  prefixed.anchor_ids.assign(1, -1);
  const DeviceOutput a = run_on_device(anchored);
  const DeviceOutput b = run_on_device(prefixed);
  expect_near_outputs(a, b, 0.01);
  for (std::size_t i = 0; i < a.mass.size(); ++i) EXPECT_NEAR(a.mass[i], b.mass[i], 1e-5);
}

TEST(CudaLaws, AddingToBetaShiftsTheAnchorsLogSum) {
  FP_NEEDS_DEVICE();
  const AttentionWorld world = make_decode_world({base_case()});
  DeviceBatch batch = lay_out_for_device(world, 16);
  const DeviceOutput before = run_on_device(batch);
  for (float& beta : batch.beta) beta += 0.75F;
  const DeviceOutput after = run_on_device(batch);
  EXPECT_EQ(before.lse_context, after.lse_context);
  for (std::size_t h = 0; h < 8; ++h) {
    EXPECT_NEAR(after.lse_anchor[h], before.lse_anchor[h] + 0.75F, 1e-5);
  }
}

TEST(CudaLaws, ConstantValuesComeOutUnchanged) {
  FP_NEEDS_DEVICE();
  const AttentionWorld world = make_decode_world({base_case()});
  DeviceBatch batch = lay_out_for_device(world, 16);
  for (std::uint16_t& v : batch.v) {
    if (v != 0x7FC0) v = 0x3F80;  // 1.0; the poison stays
  }
  for (const std::uint16_t o : run_on_device(batch).o) {
    EXPECT_NEAR(float_from_bf16(o), 1.0F, 1.0F / 128);
  }
}

TEST(CudaLaws, InfinitePoisonLeaksNoMoreThanNaN) {
  FP_NEEDS_DEVICE();
  const AttentionWorld world = make_decode_world({base_case()});
  DeviceBatch batch = lay_out_for_device(world, 16);
  const DeviceOutput nan = run_on_device(batch);
  for (auto* rows : {&batch.k, &batch.v}) {
    for (std::uint16_t& x : *rows) x = x == 0x7FC0 ? 0x7F80 : x;  // +infinity
  }
  expect_same_bits(nan, run_on_device(batch), "poison");
}

}  // namespace
}  // namespace fieldprint::testing
