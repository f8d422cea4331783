// Relations that hold for any inputs: they catch what a shared misreading of the
// mathematics by kernel and reference would hide.
#include <gtest/gtest.h>

#include <cmath>

#include "attention/cpu_harness.h"

namespace fieldprint::testing {
namespace {

constexpr int kUser = static_cast<int>(KvClass::kUser);
constexpr int kMemoryClass = static_cast<int>(KvClass::kMemory);
constexpr int kAnchorClass = static_cast<int>(KvClass::kAnchor);

// p is rounded to bf16 (2^-9 relative) on one ISA, o sums products of it.
float o_tolerance(KvDtype dtype) { return dtype == KvDtype::kF32 ? 1e-5F : 8e-3F; }

class CpuMetamorphic : public ::testing::TestWithParam<std::tuple<CpuIsa, KvDtype>> {
 protected:
  void SetUp() override {
    if (!cpu_isa_available(run().isa)) {
      GTEST_SKIP() << "NOT TESTED: this machine or build has no " << cpu_isa_name(run().isa);
    }
  }
  static CpuRun run() { return {std::get<0>(GetParam()), std::get<1>(GetParam()), 2}; }
  static float tolerance() { return o_tolerance(run().dtype); }
  CpuOutput run_plan(const AttentionWorld& world, const SequencePlan& plan) const {
    return run_plans(world, PageMemory(world, run().dtype), {&plan, 1}, run());
  }
};

INSTANTIATE_TEST_SUITE_P(All, CpuMetamorphic,
                         ::testing::Combine(::testing::ValuesIn(all_cpu_isas().begin(),
                                                                all_cpu_isas().end()),
                                            ::testing::Values(KvDtype::kBf16, KvDtype::kF32)),
                         [](const auto& param) {
                           return isa_label(std::get<0>(param.param)) +
                                  (std::get<1>(param.param) == KvDtype::kBf16 ? "_bf16" : "_f32");
                         });

AttentionCase small_chat() {
  AttentionCase c;
  c.context = chat_context(300);
  c.sink_leaf = true;
  c.anchor_rows = 37;
  c.query_count = 5;
  c.seed = 71;
  return c;
}

TEST_P(CpuMetamorphic, SplittingAClassSplitsItsMass) {
  AttentionWorld world = make_world(small_chat());
  const CpuOutput want = run_cpu(world, run());
  bool odd = false;
  for (PageEntry& page : world.sequences[0]->pages) {
    if (page.cls == KvClass::kMemory) page.cls = KvClass::kTool;
    if (page.cls == KvClass::kUser && (odd = !odd)) page.cls = KvClass::kMemory;
  }
  const CpuOutput got = run_cpu(world, run());
  for (std::size_t i = 0; i < want.mass.size(); i += kKvClasses) {
    EXPECT_GT(got.mass[i + kMemoryClass], 0.0F);
    EXPECT_NEAR(got.mass[i + kUser] + got.mass[i + kMemoryClass], want.mass[i + kUser], 1e-6);
  }
}

TEST_P(CpuMetamorphic, MovingRowsToTheAnchorChangesNothing) {
  AttentionCase c = small_chat();
  c.anchor_rows = 0;
  const AttentionWorld world = make_world(c);
  const SequencePlan plan = world.sequences[0]->plan;
  SequencePlan moved = plan;
  const Leaf anchor_leaf = {0, 3};
  const Leaf sink_leaf = {0, 1};
  std::vector<PageEntry> pages(plan.pages.begin(), plan.pages.begin() + 1);
  pages.insert(pages.end(), plan.pages.begin() + 4, plan.pages.end());
  const std::vector<Leaf> leaves = {sink_leaf, {1, static_cast<int>(pages.size()) - 1}};
  moved.pages = pages;
  moved.leaves = leaves;
  moved.leaves_before_anchor = 1;
  moved.anchor.pages = plan.pages.subspan(1, 3);
  moved.anchor.leaves = {&anchor_leaf, 1};
  const CpuOutput want = run_plan(world, plan);
  const CpuOutput got = run_plan(world, moved);
  EXPECT_LE(max_difference(want.o, got.o), tolerance());
  EXPECT_LE(max_difference(want.lse_joint, got.lse_joint), 1e-5F);
  EXPECT_LE(max_difference(want.mass, got.mass), 1e-6F);
}

TEST_P(CpuMetamorphic, DuplicateRowIsBetaPlusLn2) {
  const AttentionWorld world = make_world(small_chat());
  CaseSequence& s = *world.sequences[0];
  SequencePlan twice = s.plan;
  std::vector<PageEntry> pages = s.anchor_pages;
  pages.insert(pages.end(), s.anchor_pages.begin(), s.anchor_pages.end());
  const Leaf leaf = {0, static_cast<int>(pages.size())};
  twice.anchor.pages = pages;
  twice.anchor.leaves = {&leaf, 1};
  std::vector<float> beta;
  const auto stride = static_cast<std::size_t>(s.plan.anchor.beta_stride);
  for (std::size_t at = 0; at < s.beta.size(); at += stride) {
    for (int copy = 0; copy < 2; ++copy) {
      beta.insert(beta.end(), s.beta.begin() + static_cast<long>(at),
                  s.beta.begin() + static_cast<long>(at + stride));
    }
  }
  twice.anchor.beta = beta.data();
  twice.anchor.beta_stride *= 2;
  const CpuOutput want = run_plan(world, twice);
  for (float& b : s.beta) b += std::log(2.0F);
  const CpuOutput got = run_plan(world, s.plan);
  EXPECT_LE(max_difference(want.o, got.o), tolerance());
  EXPECT_LE(max_difference(want.lse_anchor, got.lse_anchor), 1e-5F);
  EXPECT_LE(max_difference(want.mass, got.mass), 1e-6F);
}

TEST_P(CpuMetamorphic, BetaMinusInfinityIsAnAbsentRow) {
  const AttentionWorld world = make_world(small_chat());
  CaseSequence& s = *world.sequences[0];
  std::vector<PageEntry> shorter = s.anchor_pages;
  shorter.back().rows -= 1;
  SequencePlan absent = s.plan;
  absent.anchor.pages = shorter;
  const CpuOutput want = run_plan(world, absent);
  const int slot = static_cast<int>(s.anchor_pages.size() - 1) * kPageRows + shorter.back().rows;
  for (std::size_t at = 0; at < s.beta.size(); at += s.plan.anchor.beta_stride) {
    s.beta[at + static_cast<std::size_t>(slot)] = -INFINITY;
  }
  expect_same_bits(want, run_plan(world, s.plan), "absent row");
}

TEST_P(CpuMetamorphic, AnchorOfAbsentRowsIsNoAnchor) {
  AttentionCase c = small_chat();
  for (const AnchorMode mode : {AnchorMode::kJoint, AnchorMode::kGated, AnchorMode::kFloored}) {
    c.beta = BetaKind::kAllAbsent;
    c.mode = mode;
    const AttentionWorld world = make_world(c);
    SequencePlan without = world.sequences[0]->plan;
    without.anchor = {};
    const CpuOutput want = run_plan(world, without);
    const CpuOutput got = run_cpu(world, run());
    expect_same_bits(want, got, "mode " + std::to_string(static_cast<int>(mode)));
  }
}

TEST_P(CpuMetamorphic, GammaZeroAndOneArePure) {
  AttentionCase c = small_chat();
  c.mode = AnchorMode::kGated;
  const AttentionWorld world = make_world(c);
  CaseSequence& s = *world.sequences[0];
  SequencePlan context_only = s.plan, anchor_only = s.plan;
  context_only.anchor = {};
  anchor_only.pages = {};
  anchor_only.leaves = {};
  anchor_only.leaves_before_anchor = 0;
  std::fill(s.gamma.begin(), s.gamma.end(), 0.0F);
  const CpuOutput at_zero = run_plan(world, s.plan);
  EXPECT_LE(max_difference(at_zero.o, run_plan(world, context_only).o), 1e-6F);
  std::fill(s.gamma.begin(), s.gamma.end(), 1.0F);
  const CpuOutput at_one = run_plan(world, s.plan);
  EXPECT_LE(max_difference(at_one.o, run_plan(world, anchor_only).o), 1e-6F);
  for (std::size_t i = 0; i < at_one.mass.size(); i += kKvClasses) {
    EXPECT_EQ(at_zero.mass[i + kAnchorClass], 0.0F);
    EXPECT_NEAR(at_one.mass[i + kAnchorClass], 1.0F, 1e-6);
  }
}

TEST_P(CpuMetamorphic, GatedIsJointWithTheIdentitysBias) {
  AttentionCase c = small_chat();
  c.kv_heads = c.heads;  // beta is per KV head, the identity's bias per head
  c.query_count = 1;
  c.mode = AnchorMode::kGated;
  const AttentionWorld world = make_world(c);
  CaseSequence& s = *world.sequences[0];
  for (float& g : s.gamma) g = 0.05F + 0.9F * g;
  const CpuOutput gated = run_plan(world, s.plan);
  const int stride = s.plan.anchor.beta_stride;
  for (int h = 0; h < c.heads; ++h) {
    const auto head = static_cast<std::size_t>(h);
    const float g = s.gamma[static_cast<std::size_t>(kCaseLayer * c.heads + h)];
    const float b = std::log(g / (1 - g)) + gated.lse_context[head] - gated.lse_anchor[head];
    for (int i = 0; i < stride; ++i) {
      s.beta[static_cast<std::size_t>((kCaseLayer * c.heads + h) * stride + i)] += b;
    }
  }
  SequencePlan joint = s.plan;
  joint.anchor.mode = AnchorMode::kJoint;
  const CpuOutput got = run_plan(world, joint);
  EXPECT_LE(max_difference(gated.o, got.o), tolerance());
  EXPECT_LE(max_difference(gated.mass, got.mass), 1e-5F);
}

TEST_P(CpuMetamorphic, FlooredBelowTheNaturalWeightIsJoint) {
  AttentionCase c = small_chat();
  const CpuOutput joint = run_cpu(make_world(c), run());
  float least = 1.0F;
  for (std::size_t i = 0; i < joint.mass.size(); i += kKvClasses) {
    least = std::min(least, joint.mass[i + kAnchorClass]);
  }
  c.mode = AnchorMode::kFloored;
  c.psi = least * 0.99F;
  const CpuOutput floored = run_cpu(make_world(c), run());
  EXPECT_LE(max_difference(joint.o, floored.o), tolerance());
  EXPECT_LE(max_difference(joint.mass, floored.mass), 1e-6F);
  c.psi = std::min(0.9F, least * 2.0F);
  const CpuOutput lifted = run_cpu(make_world(c), run());
  for (std::size_t i = 0; i < lifted.mass.size(); i += kKvClasses) {
    EXPECT_GE(lifted.mass[i + kAnchorClass], c.psi * (1.0F - 1e-5F));
  }
}

TEST_P(CpuMetamorphic, ConstantValuesGiveConstantOutput) {
  for (const AnchorMode mode : {AnchorMode::kJoint, AnchorMode::kGated, AnchorMode::kFloored}) {
    AttentionCase c = small_chat();
    c.mode = mode;
    AttentionWorld world = make_world(c);
    for (float& v : world.v) v = std::isnan(v) ? v : 0.75F;
    const CpuOutput out = run_cpu(world, run());
    const std::vector<float> want(out.o.size(), 0.75F);
    EXPECT_LE(max_difference(out.o, want), run().dtype == KvDtype::kF32 ? 2e-6F : 2e-3F);
  }
}

TEST_P(CpuMetamorphic, NothingToSeeIsZeroAndMinusInfinity) {
  for (const AnchorMode mode : {AnchorMode::kJoint, AnchorMode::kGated, AnchorMode::kFloored}) {
    AttentionCase c = small_chat();
    c.mode = mode;
    const AttentionWorld world = make_world(c);
    SequencePlan empty = world.sequences[0]->plan;
    empty.pages = {};
    empty.leaves = {};
    empty.leaves_before_anchor = 0;
    SequencePlan hidden = empty;  // anchor rows exist but lie in the future
    hidden.first_query_pos = 0;
    hidden.query_count = 1;
    empty.anchor.pages = {};
    empty.anchor.leaves = {};
    for (const SequencePlan& plan : {empty, hidden}) {
      const CpuOutput all = run_plan(world, plan);
      const CpuOutput out = slice_tokens(all, world.shape, 0, plan.query_count);
      for (const float x : out.o) ASSERT_EQ(x, 0.0F);
      for (const float x : out.mass) ASSERT_EQ(x, 0.0F);
      for (const float x : all.mean_mass) ASSERT_EQ(x, 0.0F);
      for (const float x : out.lse_context) ASSERT_EQ(x, -INFINITY);
      for (const float x : out.lse_anchor) ASSERT_EQ(x, -INFINITY);
      for (const float x : out.lse_joint) ASSERT_EQ(x, -INFINITY);
    }
  }
}

}  // namespace
}  // namespace fieldprint::testing
