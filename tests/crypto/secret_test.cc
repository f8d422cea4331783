#include "crypto/secret.h"

#include <gtest/gtest.h>

#include <set>

namespace fieldprint {
namespace {

TEST(SecretBytes, CopiesMovesAndIsZeroedAtFirst) {
  SecretBytes zero(5);
  EXPECT_EQ(zero.view(), std::string_view("\0\0\0\0\0", 5));
  SecretBytes secret = SecretBytes::copy_of("hush");
  EXPECT_EQ(secret.view(), "hush");
  SecretBytes moved = std::move(secret);
  EXPECT_EQ(moved.view(), "hush");
  zero = std::move(moved);
  EXPECT_EQ(zero.view(), "hush");
  EXPECT_EQ(moved.size(), 0U);  // NOLINT: a moved-from buffer is empty
  EXPECT_EQ(SecretBytes().size(), 0U);
}

TEST(SecretBytes, WipeOverwrites) {
  std::array<std::uint8_t, 4> bytes = {1, 2, 3, 4};
  wipe(bytes);
  EXPECT_EQ(bytes, (std::array<std::uint8_t, 4>{}));
}

TEST(Random, BytesDiffer) {
  std::set<std::array<std::uint8_t, 16>> seen;
  for (int i = 0; i < 100; ++i) seen.insert(random_array<16>());
  EXPECT_EQ(seen.size(), 100U);
}

TEST(ConstantTimeEqual, ComparesValuesAndLengths) {
  const std::array<std::uint8_t, 3> a = {1, 2, 3}, b = {1, 2, 3}, c = {1, 2, 4};
  EXPECT_TRUE(constant_time_equal(a, b));
  EXPECT_FALSE(constant_time_equal(a, c));
  EXPECT_FALSE(constant_time_equal(a, std::span(b).first(2)));
  EXPECT_TRUE(constant_time_equal({}, {}));
}

}  // namespace
}  // namespace fieldprint
