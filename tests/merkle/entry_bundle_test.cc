#include "merkle/entry_bundle.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace fieldprint {
namespace {

std::string code(std::string_view bundle, int width) {
  const auto entries = parse_entry_bundle(bundle, width);
  return entries ? "accepted" : entries.error().code;
}

TEST(EntryBundle, Bytes) {
  std::string bundle;
  ASSERT_TRUE(append_entry(bundle, "abc"));
  ASSERT_TRUE(append_entry(bundle, ""));
  EXPECT_EQ(bundle, std::string("\0\3abc\0\0", 7));
  EXPECT_EQ(*parse_entry_bundle(bundle, 2), (std::vector<std::string_view>{"abc", ""}));
}

TEST(EntryBundle, LargestEntry) {
  std::string bundle;
  EXPECT_TRUE(append_entry(bundle, std::string(65535, 'x')));
  EXPECT_EQ(append_entry(bundle, std::string(65536, 'x')).error().code, "entry_too_large");
  EXPECT_EQ((*parse_entry_bundle(bundle, 1))[0].size(), 65535U);
}

TEST(EntryBundle, NotOneByteAndNotOneEntryMoreOrLess) {
  const std::string bundle("\0\3abc\0\0", 7);
  for (std::size_t size = 0; size < bundle.size(); ++size) {
    EXPECT_EQ(code(bundle.substr(0, size), 2), "bundle_invalid") << size;
  }
  EXPECT_EQ(code(bundle + '\0', 2), "bundle_invalid");
  EXPECT_EQ(code(bundle, 1), "bundle_invalid");
  EXPECT_EQ(code(bundle, 3), "bundle_invalid");
  EXPECT_EQ(code("", 0), "bundle_invalid");
  EXPECT_EQ(code(std::string(600, '\0'), 257), "bundle_invalid");
}

RC_GTEST_PROP(EntryBundle, ReadsWhatItWrote, ()) {
  const auto entries = *rc::gen::nonEmpty<std::vector<std::string>>();
  std::string bundle;
  for (const std::string& entry : entries) RC_ASSERT(append_entry(bundle, entry).has_value());
  const auto read = parse_entry_bundle(bundle, static_cast<int>(entries.size()));
  RC_ASSERT(std::vector<std::string>(read->begin(), read->end()) == entries);
}

}  // namespace
}  // namespace fieldprint
