#include "app/support/memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fieldprint::app {
namespace {

using ::testing::HasSubstr;
constexpr std::int64_t kGiB = std::int64_t{1} << 30;

TEST(Memory, AModelThatDoesNotFitIsRefusedWithBothNeeds) {
  EXPECT_TRUE(check_memory(6 * kGiB, 2 * kGiB, 8 * kGiB).has_value());
  const Status refused = check_memory(6 * kGiB, 3 * kGiB, 8 * kGiB);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, "memory_exhausted");
  for (const char* part : {"6.0 GiB", "3.0 GiB", "8.0 GiB", "--kv-tokens"})
    EXPECT_THAT(refused.error().message, HasSubstr(part));
}

TEST(Memory, UnknownFreeMemoryRefusesNothing) {
  EXPECT_TRUE(check_memory(6 * kGiB, 3 * kGiB, 0).has_value());
}

TEST(Memory, AControlGroupLeavesItsLimitLessItsUse) {
  EXPECT_EQ(group_memory_left("1000", "400", 0), 600);
  EXPECT_EQ(group_memory_left("1000", "900", 300), 400);
  EXPECT_EQ(group_memory_left("1000", "1200", 0), 0);
  EXPECT_EQ(group_memory_left("max", "400", 0), -1);
  EXPECT_EQ(group_memory_left("", "", 0), -1);
}

TEST(Memory, ThisMachineHasSome) { EXPECT_GT(available_memory(), 0); }

}  // namespace
}  // namespace fieldprint::app
