#include "codec/hex.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace fieldprint {
namespace {

using Bytes = std::vector<std::uint8_t>;

// RFC 4648 section 10 gives base16 of "f".."foobar" in upper case; ours is lower case.
TEST(Hex, PublishedVectors) {
  const std::pair<const char*, const char*> vectors[] = {
      {"", ""}, {"f", "66"}, {"fo", "666f"}, {"foo", "666f6f"}, {"foobar", "666f6f626172"}};
  for (const auto& [text, hex] : vectors) {
    const std::string_view view(text);
    EXPECT_EQ(hex_encode(Bytes(view.begin(), view.end())), hex);
    EXPECT_EQ(*hex_decode(hex), Bytes(view.begin(), view.end()));
  }
  EXPECT_EQ(hex_encode(Bytes{0x00, 0x0f, 0xf0, 0xff}), "000ff0ff");
}

TEST(Hex, RefusesEverySecondSpelling) {
  for (const char* text : {"0", "0G", "FF", "f ", "0x", "\xc3\xa9"}) {
    const auto bytes = hex_decode(text);
    ASSERT_FALSE(bytes) << text;
    EXPECT_EQ(bytes.error().code, "hex_invalid");
  }
}

RC_GTEST_PROP(Hex, RoundTrips, (const Bytes& bytes)) {
  RC_ASSERT(*hex_decode(hex_encode(bytes)) == bytes);
}

}  // namespace
}  // namespace fieldprint
