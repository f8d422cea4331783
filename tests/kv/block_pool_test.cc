#include "kv/block_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fieldprint {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(BlockPool, CountsStartFree) {
  BlockPool pool(5);
  EXPECT_EQ(pool.page_count(), 5);
  EXPECT_EQ(pool.free_count(), 5);
  EXPECT_EQ(pool.used_count(), 0);
  EXPECT_EQ(pool.cached_count(), 0);
  EXPECT_TRUE(pool.check_integrity());
}

TEST(BlockPool, RefusalNamesNeedFreeAndFlagAndChangesNothing) {
  BlockPool pool(4);
  const auto held = pool.allocate(3);
  ASSERT_TRUE(held);
  const auto refused = pool.allocate(2);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "kv_exhausted");
  EXPECT_EQ(refused.error().kind, ErrorKind::kExhausted);
  EXPECT_EQ(refused.error().param, "--kv-tokens");
  EXPECT_THAT(refused.error().message, HasSubstr("2 more pages"));
  EXPECT_THAT(refused.error().message, HasSubstr("1 of 4 free"));
  EXPECT_THAT(refused.error().message, HasSubstr("--kv-tokens"));
  EXPECT_EQ(pool.free_count(), 1);
  EXPECT_TRUE(pool.allocate(1));
}

TEST(BlockPool, RefusalEvictsNothing) {
  BlockPool pool(3);
  std::vector<PageId> evicted;
  pool.set_evict_hook([&](PageId page) { evicted.push_back(page); });
  const PageId page = pool.allocate(1)->front();
  pool.mark_cached(page);
  pool.release(page);
  EXPECT_FALSE(pool.allocate(4));
  EXPECT_TRUE(evicted.empty());
  EXPECT_TRUE(pool.is_cached(page));
  EXPECT_EQ(pool.available(), 3);
}

TEST(BlockPool, LastReleaseFrees) {
  BlockPool pool(2);
  const PageId page = pool.allocate(1)->front();
  pool.retain(page);
  EXPECT_FALSE(pool.is_exclusive(page));
  pool.release(page);
  EXPECT_TRUE(pool.is_exclusive(page));
  EXPECT_EQ(pool.free_count(), 1);
  pool.release(page);
  EXPECT_EQ(pool.free_count(), 2);
  EXPECT_TRUE(pool.check_integrity());
}

TEST(BlockPool, EvictsLeastRecentlyUsedFirstAndFreePagesBeforeCachedOnes) {
  BlockPool pool(4);
  std::vector<PageId> evicted;
  pool.set_evict_hook([&](PageId page) { evicted.push_back(page); });
  const auto pages = *pool.allocate(3);
  for (const PageId page : pages) pool.mark_cached(page);
  for (const PageId page : pages) pool.release(page);
  EXPECT_EQ(pool.cached_count(), 3);
  pool.touch(pages[0]);
  ASSERT_TRUE(pool.allocate(1));
  EXPECT_TRUE(evicted.empty());
  ASSERT_TRUE(pool.allocate(2));
  EXPECT_THAT(evicted, ElementsAre(pages[1], pages[2]));
  EXPECT_TRUE(pool.is_cached(pages[0]));
  EXPECT_TRUE(pool.check_integrity());
}

TEST(BlockPool, ReferencedOrPinnedCachedPagesAreNeverEvicted) {
  BlockPool pool(2);
  const auto pages = *pool.allocate(2);
  for (const PageId page : pages) pool.mark_cached(page);
  pool.pin(pages[0]);
  pool.release(pages[0]);
  EXPECT_EQ(pool.available(), 0);
  EXPECT_FALSE(pool.allocate(1));
  pool.release(pages[1]);
  EXPECT_THAT(*pool.allocate(1), ElementsAre(pages[1]));
  pool.unpin(pages[0]);
  EXPECT_EQ(pool.cached_count(), 1);
  EXPECT_TRUE(pool.check_integrity());
}

TEST(BlockPool, CachedPageComesBackIntoUse) {
  BlockPool pool(1);
  const PageId page = pool.allocate(1)->front();
  pool.mark_cached(page);
  pool.release(page);
  pool.retain(page);
  EXPECT_EQ(pool.used_count(), 1);
  EXPECT_FALSE(pool.is_exclusive(page)) << "the index still reads it";
  pool.drop_cached(page);
  EXPECT_TRUE(pool.is_exclusive(page));
  pool.release(page);
  EXPECT_EQ(pool.free_count(), 1);
}

TEST(BlockPoolDeath, DoubleReleaseAndForeignPagesAreBugs) {
  BlockPool pool(1);
  const PageId page = pool.allocate(1)->front();
  pool.release(page);
  EXPECT_DEATH(pool.release(page), "refs > 0");
  EXPECT_DEATH(pool.retain(page), "cached");
  EXPECT_DEATH(pool.pin(7), "page_count");
}

}  // namespace
}  // namespace fieldprint
