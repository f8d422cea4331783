// What must not change a single bit, on every instruction set: page ids, threads,
// batch neighbours, chunking (prefill against decode), class labels, and whether a
// prefix is stored as an anchor or as ordinary context.
#include <gtest/gtest.h>

#include "attention/cpu_harness.h"

namespace fieldprint::testing {
namespace {

class CpuBits : public ::testing::TestWithParam<CpuIsa> {
 protected:
  void SetUp() override {
    if (!cpu_isa_available(GetParam())) {
      GTEST_SKIP() << "NOT TESTED: this machine or build has no " << cpu_isa_name(GetParam());
    }
  }
  CpuRun run(int threads = 2, KvDtype dtype = KvDtype::kBf16) const {
    return {GetParam(), dtype, threads};
  }
};

INSTANTIATE_TEST_SUITE_P(All, CpuBits,
                         ::testing::ValuesIn(all_cpu_isas().begin(), all_cpu_isas().end()),
                         [](const auto& param) { return isa_label(param.param); });

AttentionCase chat(const std::string& name, int length, int queries, std::uint64_t seed) {
  AttentionCase c;
  c.name = name;
  c.heads = 6;
  c.context = chat_context(length);
  c.sink_leaf = true;
  c.anchor_rows = 37;
  c.query_count = queries;
  c.seed = seed;
  return c;
}

TEST_P(CpuBits, PhysicalPageIdsDoNotMatter) {
  const AttentionCase c = chat("", 700, 45, 5);
  expect_same_bits(run_cpu(make_world(c, 1), run()), run_cpu(make_world(c, 2), run()), "pages");
}

TEST_P(CpuBits, ThreadsDoNotMatter) {
  for (const int queries : {1, 45, 130}) {
    for (const AnchorMode mode : {AnchorMode::kJoint, AnchorMode::kGated, AnchorMode::kFloored}) {
      AttentionCase c = chat("", 1100, queries, 6);
      c.mode = mode;
      const AttentionWorld world = make_world(c);
      const CpuOutput one = run_cpu(world, run(1));
      for (const int threads : {2, 3, 5}) {
        const CpuOutput many = run_cpu(world, run(threads));
        expect_same_bits(one, many, std::to_string(threads) + " threads");
        EXPECT_TRUE(same_bits(one.mean_mass, many.mean_mass));
      }
    }
  }
}

TEST_P(CpuBits, BatchNeighboursDoNotMatter) {
  std::vector<AttentionCase> cases = {chat("a", 30, 1, 11), chat("b", 1400, 1, 12),
                                      chat("c", 600, 130, 13), chat("d", 520, 3, 14)};
  cases[1].mode = AnchorMode::kGated;
  cases[3].mode = AnchorMode::kFloored;
  const AttentionWorld together = make_world(cases);
  const CpuOutput all = run_cpu(together, run());
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const AttentionWorld alone = make_world(cases[i], 99);
    const SequencePlan& plan = together.sequences[i]->plan;
    const CpuOutput want = run_cpu(alone, run(1));
    expect_same_bits(want, slice_tokens(all, together.shape, plan.first_query, plan.query_count),
                     cases[i].name);
    const std::vector<float> mean(all.mean_mass.begin() + static_cast<long>(i) * kKvClasses,
                                  all.mean_mass.begin() + static_cast<long>(i + 1) * kKvClasses);
    EXPECT_TRUE(same_bits(want.mean_mass, mean)) << cases[i].name;
  }
}

// The plan as it stood when the query at `token` was the newest: later rows and pages
// do not exist yet.
struct DecodePlan {
  std::vector<PageEntry> pages;
  std::vector<Leaf> leaves;
  SequencePlan plan;
  DecodePlan(const SequencePlan& whole, int token) : plan(whole) {
    plan.first_query += token;
    plan.first_query_pos += token;
    plan.query_count = 1;
    for (PageEntry page : whole.pages) {
      if (page.first_pos > plan.first_query_pos) break;
      page.rows = static_cast<std::uint8_t>(
          std::min<int>(page.rows, plan.first_query_pos - page.first_pos + 1));
      pages.push_back(page);
    }
    for (Leaf leaf : whole.leaves) {
      leaf.page_count = std::min(leaf.page_count, static_cast<int>(pages.size()) - leaf.first_page);
      if (leaf.page_count > 0) leaves.push_back(leaf);
    }
    plan.leaves_before_anchor =
        std::min(plan.leaves_before_anchor, static_cast<int>(leaves.size()));
    plan.pages = pages;
    plan.leaves = leaves;
  }
};

void expect_prefill_is_decode(const AttentionCase& c, const CpuRun& run) {
  const AttentionWorld world = make_world(c);
  const PageMemory memory(world, run.dtype);
  const CpuOutput prefill = run_plans(world, memory, world.plans(), run);
  for (int token = 0; token < c.query_count; token += 1 + c.query_count / 40) {
    const DecodePlan decode(world.sequences[0]->plan, token);
    const CpuOutput one = run_plans(world, memory, {&decode.plan, 1}, run);
    expect_same_bits(slice_tokens(prefill, world.shape, token, 1),
                     slice_tokens(one, world.shape, token, 1),
                     c.name + " token " + std::to_string(token));
  }
}

TEST_P(CpuBits, PrefillIsDecode) {
  for (const KvDtype dtype : {KvDtype::kBf16, KvDtype::kF32}) {
    expect_prefill_is_decode(chat("chat", 650, 200, 21), run(2, dtype));
    AttentionCase window = chat("window", 650, 200, 22);
    window.window = 90;
    expect_prefill_is_decode(window, run(2, dtype));
    AttentionCase gated = chat("gated", 560, 60, 23);
    gated.mode = AnchorMode::kGated;
    gated.head_dim = 80;
    gated.kv_heads = 3;
    expect_prefill_is_decode(gated, run(2, dtype));
    AttentionCase start = chat("start", 90, 90, 24);
    start.sink_leaf = false;
    start.anchor_rows = 0;
    expect_prefill_is_decode(start, run(2, dtype));
  }
}

TEST_P(CpuBits, ChunkingOfPrefillDoesNotMatter) {
  const AttentionWorld world = make_world(chat("", 700, 150, 31));
  const PageMemory memory(world, KvDtype::kBf16);
  const SequencePlan whole = world.sequences[0]->plan;
  const CpuOutput want = run_plans(world, memory, {&whole, 1}, run());
  for (const int cut : {1, 16, 37, 149}) {
    SequencePlan parts[2] = {whole, whole};
    parts[0].query_count = cut;
    parts[1].first_query += cut;
    parts[1].first_query_pos += cut;
    parts[1].query_count -= cut;
    expect_same_bits(want, run_plans(world, memory, parts, run()), "cut " + std::to_string(cut));
  }
}

TEST_P(CpuBits, ClassLabelsDoNotTouchTheOutput) {
  AttentionWorld world = make_world(chat("", 700, 9, 41));
  const CpuOutput want = run_cpu(world, run());
  for (PageEntry& page : world.sequences[0]->pages) page.cls = KvClass::kReserved;
  const CpuOutput got = run_cpu(world, run());
  EXPECT_TRUE(same_bits(want.o, got.o));
  EXPECT_TRUE(same_bits(want.lse_joint, got.lse_joint));
  EXPECT_FALSE(same_bits(want.mass, got.mass));
}

// An anchor with beta 0 is an ordinary cached prefix when both are cut at the same
// leaf boundaries.
TEST_P(CpuBits, NeutralAnchorIsAPrefix) {
  for (const BetaKind beta : {BetaKind::kNone, BetaKind::kZero}) {
    for (const int queries : {1, 50}) {
      AttentionCase c = chat("", 1300, queries, 51);
      c.anchor_rows = 700;  // two anchor leaves
      c.beta = beta;
      const AttentionWorld world = make_world(c);
      const PageMemory memory(world, KvDtype::kBf16);
      const SequencePlan anchored = world.sequences[0]->plan;
      std::vector<PageEntry> pages(anchored.pages.begin(), anchored.pages.begin() + 1);
      pages.insert(pages.end(), anchored.anchor.pages.begin(), anchored.anchor.pages.end());
      pages.insert(pages.end(), anchored.pages.begin() + 1, anchored.pages.end());
      std::vector<Leaf> leaves = {anchored.leaves[0]};
      const int shift = static_cast<int>(anchored.anchor.pages.size());
      for (const Leaf& leaf : anchored.anchor.leaves) {
        leaves.push_back({leaf.first_page + 1, leaf.page_count});
      }
      for (const Leaf& leaf : anchored.leaves.subspan(1)) {
        leaves.push_back({leaf.first_page + shift, leaf.page_count});
      }
      SequencePlan prefix = anchored;
      prefix.anchor = {};
      prefix.pages = pages;
      prefix.leaves = leaves;
      const CpuOutput want = run_plans(world, memory, {&prefix, 1}, run());
      const CpuOutput got = run_plans(world, memory, {&anchored, 1}, run());
      EXPECT_TRUE(same_bits(want.o, got.o));
      EXPECT_TRUE(same_bits(want.lse_joint, got.lse_joint));
      EXPECT_TRUE(same_bits(want.mass, got.mass));
    }
  }
}

TEST_P(CpuBits, RunningAgainGivesTheSame) {
  const AttentionWorld world = make_world(chat("", 900, 33, 61));
  expect_same_bits(run_cpu(world, run(3)), run_cpu(world, run(3)), "again");
}

}  // namespace
}  // namespace fieldprint::testing
