#include "codec/base64.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace fieldprint {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes bytes_of(std::string_view text) { return {text.begin(), text.end()}; }

// RFC 4648 section 10.
TEST(Base64, PublishedVectors) {
  const std::pair<const char*, const char*> vectors[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"}};
  for (const auto& [text, encoded] : vectors) {
    EXPECT_EQ(base64_encode(std::string_view(text)), encoded);
    EXPECT_EQ(*base64_decode(encoded), bytes_of(text));
  }
  EXPECT_EQ(base64_encode(Bytes{0xfb, 0xff, 0xfe}), "+//+");
}

TEST(Base64, RefusesEverySecondSpelling) {
  for (const char* text : {"Zg", "Zg=", "Zh==", "Zm9=", "Zg==\n", " Zg==", "Zm9vZg==Zm9v", "====",
                           "Z===", "=Zg=", "Zm\n9", "Zg==Zg==", "-__-", "Zm9v\xc3\xa9\xc3\xa9"}) {
    const auto bytes = base64_decode(text);
    ASSERT_FALSE(bytes) << text;
    EXPECT_EQ(bytes.error().code, "base64_invalid");
  }
}

TEST(Base64, UrlAlphabetOnRequest) {
  EXPECT_EQ(*base64_decode_any("-__-"), (Bytes{0xfb, 0xff, 0xfe}));
  EXPECT_EQ(*base64_decode_any("+//+"), (Bytes{0xfb, 0xff, 0xfe}));
  EXPECT_FALSE(base64_decode_any("+_/-"));
}

RC_GTEST_PROP(Base64, DecodeUndoesEncode, (const Bytes& bytes)) {
  const std::string text = base64_encode(bytes);
  RC_ASSERT(text.size() == (bytes.size() + 2) / 3 * 4);
  RC_ASSERT(*base64_decode(text) == bytes);
}

// What is read has one spelling only.
RC_GTEST_PROP(Base64, EncodeUndoesDecode, ()) {
  const auto text = *rc::gen::container<std::string>(rc::gen::elementOf(std::string("Aghw4=+/Q")));
  const auto bytes = base64_decode(text);
  if (bytes) RC_ASSERT(base64_encode(*bytes) == text);
}

}  // namespace
}  // namespace fieldprint
