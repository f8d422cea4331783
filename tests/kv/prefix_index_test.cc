#include "kv/prefix_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <optional>

namespace fieldprint {
namespace {

using Tokens = std::vector<std::int32_t>;

Tokens count_up(std::int32_t first, std::size_t n) {
  Tokens tokens(n);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

struct Cache {
  BlockPool pool{32};
  PrefixIndex index{pool};
  PrefixChain root = PrefixIndex::root("", "", 0);

  // Runs a prompt to its end as an engine would, and gives the table.
  BlockTable run(const std::vector<PrefixSpan>& spans, PrefixChain chain) {
    BlockTable table(pool, chain.first_pos());
    Tokens all;
    for (const PrefixSpan& span : spans) {
      EXPECT_TRUE(table.commit(span.cls, static_cast<std::int32_t>(span.tokens.size())));
      all.insert(all.end(), span.tokens.begin(), span.tokens.end());
    }
    index.insert_closed(chain, table, all);
    return table;
  }
  void expect_sound() {
    EXPECT_TRUE(pool.check_integrity());
    EXPECT_TRUE(index.check_integrity());
  }
};

TEST(PrefixIndex, FindsFullPagesAndClosedPartialOnes) {
  Cache cache;
  const Tokens system = count_up(0, 20);
  const Tokens user = count_up(100, 40);
  const std::vector<PrefixSpan> prompt = {{KvClass::kSystem, system}, {KvClass::kUser, user}};
  { const BlockTable table = cache.run(prompt, cache.root); }
  EXPECT_EQ(cache.pool.cached_count(), 4);  // 16 + 4 system, 16 + 16 user; 8 user open
  const PrefixMatch match = cache.index.lookup(cache.root, prompt);
  EXPECT_EQ(match.tokens, 52);
  EXPECT_EQ(match.chain.end(), 52);
  ASSERT_EQ(match.pages.size(), 4U);
  EXPECT_EQ(match.pages[1].rows, 4);
  EXPECT_EQ(match.pages[2].first_pos, 20);
  cache.expect_sound();
}

TEST(PrefixIndex, NeighbouringSpansOfOneClassAreOneRun) {
  Cache cache;
  const Tokens tokens = count_up(0, 33);
  const std::span<const std::int32_t> all(tokens);
  { const BlockTable table = cache.run({{KvClass::kUser, all}}, cache.root); }
  const std::vector<PrefixSpan> split = {{KvClass::kUser, all.first(5)},
                                         {KvClass::kUser, {}},
                                         {KvClass::kUser, all.subspan(5, 20)},
                                         {KvClass::kUser, all.subspan(25)}};
  EXPECT_EQ(cache.index.lookup(cache.root, split).tokens, 32);
}

TEST(PrefixIndex, NeverTheWholePrompt) {
  Cache cache;
  const Tokens tokens = count_up(0, 32);
  const std::span<const std::int32_t> all(tokens);
  { const BlockTable table = cache.run({{KvClass::kUser, all}}, cache.root); }
  const std::vector<PrefixSpan> same = {{KvClass::kUser, all}};
  EXPECT_EQ(cache.index.lookup(cache.root, same).tokens, 16);
  const std::vector<PrefixSpan> shorter = {{KvClass::kUser, all.first(16)}};
  EXPECT_EQ(cache.index.lookup(cache.root, shorter).tokens, 0);
  EXPECT_EQ(cache.index.lookup(cache.root, {}).tokens, 0);
}

TEST(PrefixIndex, SaltSeedPositionClassAndEveryTokenMatter) {
  Cache cache;
  const Tokens tokens = count_up(0, 40);
  const std::vector<PrefixSpan> prompt = {{KvClass::kUser, tokens}};
  const PrefixChain root = PrefixIndex::root("salt", "seed", 0);
  { const BlockTable table = cache.run(prompt, root); }
  EXPECT_EQ(cache.index.lookup(root, prompt).tokens, 32);
  EXPECT_EQ(cache.index.lookup(PrefixIndex::root("SALT", "seed", 0), prompt).tokens, 0);
  EXPECT_EQ(cache.index.lookup(PrefixIndex::root("salt", "SEED", 0), prompt).tokens, 0);
  EXPECT_EQ(cache.index.lookup(PrefixIndex::root("salts", "eed", 0), prompt).tokens, 0);
  EXPECT_EQ(cache.index.lookup(PrefixIndex::root("salt", "seed", 7), prompt).tokens, 0);
  const std::vector<PrefixSpan> tool = {{KvClass::kTool, tokens}};
  EXPECT_EQ(cache.index.lookup(root, tool).tokens, 0);
  for (std::size_t i = 0; i < 32; ++i) {
    Tokens changed = tokens;
    changed[i] = 999;
    const std::vector<PrefixSpan> other = {{KvClass::kUser, changed}};
    EXPECT_EQ(cache.index.lookup(root, other).tokens, i < 16 ? 0 : 16) << "token " << i;
  }
}

TEST(PrefixIndex, GrowsOverTurnsAndSkipsTheSink) {
  Cache cache;
  const PageId sink = cache.pool.allocate(1)->front();
  const PageEntry sink_entry{sink, KvClass::kSink, 1, 0};
  PrefixChain chain = PrefixIndex::root("", "anchor", 50);
  BlockTable table(cache.pool);
  table.adopt(std::span(&sink_entry, 1));
  table.skip_to(50);
  Tokens tokens = count_up(0, 10);
  ASSERT_TRUE(table.commit(KvClass::kUser, 10));
  cache.index.insert_closed(chain, table, tokens);
  EXPECT_EQ(chain.pages(), 0) << "the only page is still open";
  for (std::int32_t i = 0; i < 20; ++i) {
    ASSERT_TRUE(table.commit(KvClass::kOutput, 1));
    tokens.push_back(500 + i);
    cache.index.insert_closed(chain, table, tokens);
  }
  EXPECT_EQ(chain.pages(), 2);
  EXPECT_EQ(chain.end(), 76);
  const std::span<const std::int32_t> all(tokens);
  const std::vector<PrefixSpan> next_turn = {{KvClass::kUser, all.first(10)},
                                             {KvClass::kOutput, all.subspan(10)}};
  EXPECT_EQ(cache.index.lookup(PrefixIndex::root("", "anchor", 50), next_turn).tokens, 26);
  EXPECT_FALSE(cache.pool.is_cached(sink));
}

TEST(PrefixIndex, AFamilyGoesAsAWholeAndAlone) {
  Cache cache;
  const Tokens tokens = count_up(0, 40);
  const Tokens longer = count_up(0, 60);
  const std::vector<PrefixSpan> prompt = {{KvClass::kUser, tokens}};
  const std::vector<PrefixSpan> next = {{KvClass::kUser, longer}};
  const PrefixChain mine = PrefixIndex::root("", "anchor/joint", 7, "anchor");
  const PrefixChain salted = PrefixIndex::root("tenant", "anchor/gated", 7, "anchor");
  const PrefixChain other = PrefixIndex::root("", "other/joint", 7, "other");
  for (const PrefixChain& root : {mine, salted, other, cache.root}) {
    const BlockTable table = cache.run(prompt, root);
  }
  {  // pages that a second turn adds behind cached ones belong to the family too
    PrefixMatch match = cache.index.lookup(mine, next);
    BlockTable table(cache.pool, 7);
    table.adopt(match.pages);
    ASSERT_TRUE(table.commit(KvClass::kUser, 60 - match.tokens));
    cache.index.insert_closed(match.chain, table, longer);
  }
  EXPECT_EQ(cache.index.size(), 3 + 2 + 2 + 2);
  BlockTable live = cache.run(prompt, mine);  // shares nothing, but its keys are taken
  live.clear();
  EXPECT_EQ(cache.index.drop_family("anchor"), 5);
  EXPECT_EQ(cache.index.lookup(mine, next).tokens, 0);
  EXPECT_EQ(cache.index.lookup(salted, prompt).tokens, 0);
  EXPECT_EQ(cache.index.lookup(other, prompt).tokens, 32);
  EXPECT_EQ(cache.index.lookup(cache.root, prompt).tokens, 32);
  EXPECT_EQ(cache.pool.cached_count(), 4);
  EXPECT_EQ(cache.pool.free_count(), 28);
  EXPECT_EQ(cache.index.drop_family("anchor"), 0);
  cache.expect_sound();
}

TEST(PrefixIndex, DroppingAFamilyLeavesPagesToThoseWhoReadThem) {
  Cache cache;
  const Tokens tokens = count_up(0, 40);
  const std::vector<PrefixSpan> prompt = {{KvClass::kUser, tokens}};
  BlockTable table = cache.run(prompt, PrefixIndex::root("", "s", 0, "anchor"));
  EXPECT_EQ(cache.index.drop_family("anchor"), 2);
  EXPECT_EQ(cache.pool.used_count(), 3);
  table.clear();
  EXPECT_EQ(cache.pool.free_count(), 32);
  cache.expect_sound();
}

TEST(PrefixIndex, RewindReopensAPartialPage) {
  Cache cache;
  PrefixChain chain = cache.root;
  BlockTable table(cache.pool);
  Tokens tokens = count_up(0, 5);
  ASSERT_TRUE(table.commit(KvClass::kUser, 5));
  ASSERT_TRUE(table.commit(KvClass::kOutput, 1));
  tokens.push_back(50);
  cache.index.insert_closed(chain, table, tokens);
  EXPECT_EQ(chain.end(), 5);
  table.truncate(5);
  chain.truncate(5);
  EXPECT_EQ(chain.end(), 0);
  const auto rows = table.commit(KvClass::kUser, 28);
  ASSERT_TRUE(rows);
  EXPECT_TRUE(rows->copy) << "the index still reads the old page";
  tokens = count_up(0, 33);
  cache.index.insert_closed(chain, table, tokens);
  EXPECT_EQ(chain.end(), 32);
  EXPECT_EQ(cache.index.size(), 3);
  cache.expect_sound();
}

TEST(PrefixIndex, EvictionForgetsTheTailFirstAndNeverAUsedPage) {
  Cache cache;
  const Tokens tokens = count_up(0, 100);
  const std::vector<PrefixSpan> prompt = {{KvClass::kUser, tokens}};
  { const BlockTable table = cache.run(prompt, cache.root); }
  EXPECT_EQ(cache.pool.cached_count(), 6);
  BlockTable big(cache.pool);
  ASSERT_TRUE(big.commit(KvClass::kUser, 28 * kPageRows));
  const PrefixMatch match = cache.index.lookup(cache.root, prompt);
  EXPECT_EQ(match.tokens, 64) << "two pages went, from the end";
  BlockTable user(cache.pool);
  user.adopt(match.pages);
  EXPECT_EQ(cache.pool.available(), 0);
  EXPECT_FALSE(big.commit(KvClass::kUser, 1));
  EXPECT_EQ(cache.index.lookup(cache.root, prompt).tokens, 64);
  cache.expect_sound();
}

TEST(PrefixIndex, TwoSequencesWithOnePromptGiveOneEntry) {
  Cache cache;
  const Tokens tokens = count_up(0, 20);
  const std::vector<PrefixSpan> prompt = {{KvClass::kUser, tokens}};
  std::optional<BlockTable> first = cache.run(prompt, cache.root);
  std::optional<BlockTable> second = cache.run(prompt, cache.root);
  EXPECT_EQ(cache.index.size(), 1);
  first.reset();
  second.reset();
  EXPECT_EQ(cache.pool.cached_count(), 1);
  EXPECT_EQ(cache.pool.free_count(), 31);
  cache.index.clear();
  EXPECT_EQ(cache.pool.free_count(), 32);
  cache.expect_sound();
}

}  // namespace
}  // namespace fieldprint
