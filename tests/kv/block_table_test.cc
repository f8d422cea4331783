#include "kv/block_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fieldprint {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

std::vector<std::int32_t> leaf_sizes(const BlockTable& table) {
  std::vector<std::int32_t> sizes;
  for (const Leaf& leaf : table.leaves()) sizes.push_back(leaf.page_count);
  return sizes;
}

std::vector<int> page_rows(const BlockTable& table) {
  std::vector<int> rows;
  for (const PageEntry& entry : table.page_entries()) rows.push_back(entry.rows);
  return rows;
}

TEST(BlockTable, FillsPagesInOrder) {
  BlockPool pool(8);
  BlockTable table(pool);
  EXPECT_EQ(table.plan(KvClass::kUser, 17).new_pages, 2);
  const auto rows = table.commit(KvClass::kUser, 17);
  ASSERT_TRUE(rows);
  ASSERT_THAT(rows->slots, SizeIs(17));
  EXPECT_FALSE(rows->copy);
  EXPECT_EQ(rows->slots[15].row, 15);
  EXPECT_EQ(rows->slots[16].row, 0);
  EXPECT_EQ(rows->slots[16].page, table.page_entries()[1].page);
  EXPECT_EQ(table.length(), 17);
  EXPECT_THAT(page_rows(table), ElementsAre(16, 1));
  EXPECT_EQ(table.page_entries()[1].first_pos, 16);
  EXPECT_EQ(table.plan(KvClass::kUser, 15).new_pages, 0);
  EXPECT_EQ(table.plan(KvClass::kUser, 16).new_pages, 1);
  EXPECT_EQ(table.plan(KvClass::kUser, 0).new_pages, 0);
}

TEST(BlockTable, ClassChangeStartsAPage) {
  BlockPool pool(8);
  BlockTable table(pool);
  ASSERT_TRUE(table.commit(KvClass::kSystem, 3));
  const AppendRun runs[] = {
      {KvClass::kSystem, 2}, {KvClass::kUser, 4}, {KvClass::kUser, 14}, {KvClass::kOutput, 1}};
  EXPECT_EQ(table.plan(runs).new_pages, 3);
  ASSERT_TRUE(table.commit(runs));
  EXPECT_THAT(page_rows(table), ElementsAre(5, 16, 2, 1));
  EXPECT_EQ(table.page_entries()[3].cls, KvClass::kOutput);
  EXPECT_EQ(table.page_entries()[3].first_pos, 23);
  EXPECT_THAT(leaf_sizes(table), ElementsAre(4));
}

TEST(BlockTable, ChunkingNeverChangesTheLayout) {
  BlockPool pool(200);
  BlockTable whole(pool);
  BlockTable parts(pool);
  whole.cut_leaf();
  parts.cut_leaf();
  ASSERT_TRUE(whole.commit(KvClass::kUser, 700));
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(parts.commit(KvClass::kUser, 7));
  EXPECT_EQ(page_rows(whole), page_rows(parts));
  EXPECT_EQ(leaf_sizes(whole), leaf_sizes(parts));
  EXPECT_THAT(leaf_sizes(whole), ElementsAre(32, 12));
}

TEST(BlockTable, ForkCopiesTheSharedLastPageBeforeWriting) {
  BlockPool pool(8);
  BlockTable first(pool);
  ASSERT_TRUE(first.commit(KvClass::kUser, 20));
  BlockTable second = first.fork();
  EXPECT_EQ(pool.used_count(), 2);
  const AppendPlan plan = second.plan(KvClass::kUser, 1);
  EXPECT_TRUE(plan.copies_last_page);
  EXPECT_EQ(plan.new_pages, 1);
  const auto rows = second.commit(KvClass::kUser, 1);
  ASSERT_TRUE(rows);
  ASSERT_TRUE(rows->copy);
  EXPECT_EQ(rows->copy->from, first.page_entries()[1].page);
  EXPECT_EQ(rows->copy->to, second.page_entries()[1].page);
  EXPECT_EQ(rows->slots[0].page, rows->copy->to);
  EXPECT_EQ(rows->slots[0].row, 4);
  EXPECT_EQ(first.page_entries()[0].page, second.page_entries()[0].page);
  EXPECT_FALSE(first.plan(KvClass::kUser, 1).copies_last_page) << "it is exclusive again";
  // Another class starts a page: nothing to copy.
  BlockTable third = first.fork();
  EXPECT_FALSE(third.plan(KvClass::kOutput, 1).copies_last_page);
}

TEST(BlockTable, ExhaustionLeavesNoTrace) {
  BlockPool pool(3);
  BlockTable table(pool);
  ASSERT_TRUE(table.commit(KvClass::kUser, 20));
  BlockTable other = table.fork();
  const AppendRun runs[] = {{KvClass::kUser, 1}, {KvClass::kOutput, 1}};
  const auto refused = other.commit(runs);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "kv_exhausted");
  EXPECT_EQ(other.length(), 20);
  EXPECT_THAT(page_rows(other), ElementsAre(16, 4));
  EXPECT_EQ(pool.free_count(), 1);
  EXPECT_TRUE(other.commit(KvClass::kUser, 1));
}

TEST(BlockTable, TruncateReleasesAndKeepsCutsBehindIt) {
  BlockPool pool(16);
  BlockTable table(pool);
  ASSERT_TRUE(table.commit(KvClass::kUser, 18));
  table.cut_leaf();
  ASSERT_TRUE(table.commit(KvClass::kUser, 20));
  EXPECT_THAT(page_rows(table), ElementsAre(16, 2, 16, 4));
  EXPECT_THAT(leaf_sizes(table), ElementsAre(2, 2));
  table.truncate(18);
  EXPECT_EQ(pool.used_count(), 2);
  EXPECT_THAT(leaf_sizes(table), ElementsAre(2));
  ASSERT_TRUE(table.commit(KvClass::kUser, 1));
  EXPECT_THAT(page_rows(table), ElementsAre(16, 2, 1)) << "the cut at 18 is still there";
  table.truncate(17);
  ASSERT_TRUE(table.commit(KvClass::kUser, 3));
  EXPECT_THAT(page_rows(table), ElementsAre(16, 4)) << "the cut at 18 is gone";
  table.truncate(0);
  EXPECT_EQ(pool.used_count(), 0);
  EXPECT_TRUE(table.leaves().empty());
}

TEST(BlockTable, RewoundSharedPageIsCopied) {
  BlockPool pool(4);
  BlockTable first(pool);
  ASSERT_TRUE(first.commit(KvClass::kUser, 16));
  BlockTable second = first.fork();
  EXPECT_FALSE(second.plan(KvClass::kUser, 1).copies_last_page);
  second.truncate(10);
  EXPECT_TRUE(second.plan(KvClass::kUser, 1).copies_last_page);
  EXPECT_EQ(first.page_entries()[0].rows, 16);
}

TEST(BlockTable, SinkThenAnchorGapThenContext) {
  BlockPool pool(8);
  const PageId sink = pool.allocate(1)->front();
  {
    BlockTable table(pool);
    const PageEntry entry{sink, KvClass::kSink, 1, 0};
    table.adopt(std::span(&entry, 1));
    table.skip_to(40);
    EXPECT_EQ(table.length(), 40);
    ASSERT_TRUE(table.commit(KvClass::kUser, 2));
    EXPECT_EQ(table.page_entries()[1].first_pos, 40);
    EXPECT_THAT(leaf_sizes(table), ElementsAre(1, 1));
    EXPECT_EQ(pool.ref_count(sink), 2);
    table.truncate(40);
    EXPECT_EQ(table.length(), 40);
    EXPECT_THAT(page_rows(table), ElementsAre(1));
    ASSERT_TRUE(table.commit(KvClass::kSink, 1));
    EXPECT_THAT(page_rows(table), ElementsAre(1, 1)) << "the gap keeps the sink page closed";
  }
  EXPECT_EQ(pool.ref_count(sink), 1);
  EXPECT_EQ(pool.used_count(), 1);
}

TEST(BlockTable, MoveKeepsReferencesAndClearsTheSource) {
  BlockPool pool(8);
  BlockTable source(pool);
  ASSERT_TRUE(source.commit(KvClass::kUser, 5));
  BlockTable target(pool);
  ASSERT_TRUE(target.commit(KvClass::kUser, 40));
  target = std::move(source);
  EXPECT_EQ(target.length(), 5);
  EXPECT_EQ(source.length(), 0);  // NOLINT(bugprone-use-after-move): stated contract
  EXPECT_EQ(pool.used_count(), 1);
  const BlockTable* tables[] = {&source, &target};
  EXPECT_TRUE(check_references(pool, tables));
  const BlockTable* without[] = {&source};
  EXPECT_EQ(check_references(pool, without).error().code, "kv_integrity");
}

}  // namespace
}  // namespace fieldprint
