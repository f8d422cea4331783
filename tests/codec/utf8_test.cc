#include "codec/utf8.h"

#include <gtest/gtest.h>

namespace fieldprint {
namespace {

TEST(Utf8, AcceptsTheFirstAndLastOfEachLength) {
  for (const char* text :
       {"", "a", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
        "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(utf8_valid(text)) << text;
  }
}

TEST(Utf8, RefusesOverlongSurrogateOutOfRangeAndTruncated) {
  for (const char* text :
       {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2 ", "\xe0\x9f\xbf", "\xed\xa0\x80",
        "\xe2\x82", "\xe2\x82 ", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
        "\xf0\x9f\x98", "\xff", "\xfe"}) {
    EXPECT_FALSE(utf8_valid(text));
  }
}

TEST(Utf8, PrefixStopsBeforeTheFirstBadSequence) {
  EXPECT_EQ(utf8_valid_prefix("ab\xe2\x82\xac\xe2\x82"), 5U);
  EXPECT_EQ(utf8_valid_prefix("\xff"), 0U);
}

}  // namespace
}  // namespace fieldprint
