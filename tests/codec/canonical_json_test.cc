#include "codec/canonical_json.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <string>

namespace fieldprint {
namespace {

using Array = CanonicalValue::Array;
using Object = CanonicalValue::Object;

std::string code_of(const Result<CanonicalValue>& result) {
  return result ? "ok" : result.error().code;
}

TEST(CanonicalJson, PrintsSortedKeysAndNoSpace) {
  const CanonicalValue value(Object{
      {"b", Array{1, "x", Array{}, Object{}}}, {"a", std::int64_t{-5}}, {"B", Object{{"k", "v"}}}});
  EXPECT_EQ(*canonical_print(value), R"({"B":{"k":"v"},"a":-5,"b":[1,"x",[],{}]})");
}

// RFC 8785 section 3.2.2.2: the string of its serialisation example.
TEST(CanonicalJson, PublishedStringVector) {
  const auto value = json_parse(R"("\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/")");
  ASSERT_TRUE(value);
  EXPECT_EQ(*canonical_print(*value), "\"\xe2\x82\xac$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"");
}

TEST(CanonicalJson, ParsesFreelyAndCanonicallyOnlyTheOneForm) {
  const std::string canonical = R"({"a":[1,2],"b":"\n"})";
  EXPECT_EQ(code_of(canonical_parse(canonical)), "ok");
  for (const char* other :
       {R"({"b":"\n","a":[1,2]})", R"({"a": [1,2],"b":"\n"})", R"({"a":[1,2],"b":"\u000a"})",
        "{\"a\":[1,2],\"b\":\"\\n\"}\n", R"( {"a":[1,2],"b":"\n"})"}) {
    const auto value = json_parse(other);
    ASSERT_TRUE(value) << other;
    EXPECT_EQ(*canonical_print(*value), canonical);
    EXPECT_EQ(code_of(canonical_parse(other)), "json_not_canonical") << other;
  }
}

TEST(CanonicalJson, SurrogatePairsJoin) {
  EXPECT_EQ(*json_parse(R"("\uD83D\uDE00")")->string(), "\xf0\x9f\x98\x80");
  for (const char* text : {R"("\uD83D")", R"("\uD83Dx")", R"("\uDE00")", R"("\uD83D\u0041")"}) {
    EXPECT_EQ(code_of(json_parse(text)), "json_invalid") << text;
  }
}

TEST(CanonicalJson, RefusesWhatCannotBeSigned) {
  for (const char* text : {"",
                           " ",
                           "true",
                           "null",
                           "1.0",
                           "1e3",
                           "1E3",
                           "-",
                           "-0",
                           "01",
                           "-01",
                           "+1",
                           ".5",
                           "0x1",
                           "9007199254740992",
                           "-9007199254740992",
                           "99999999999999999999",
                           "[1,]",
                           "[,]",
                           "[1 2]",
                           "[1",
                           "{",
                           "{}x",
                           R"({"a")",
                           R"({"a":})",
                           R"({"a":1,})",
                           R"({a:1})",
                           R"({"a":1,"a":2})",
                           R"({"a":1,"\u0061":2})",
                           "\"\t\"",
                           "\"abc",
                           R"("\x")",
                           R"("\u12")",
                           R"("\u12g4")",
                           "\"\\",
                           "\"\xff\"",
                           "'a'",
                           "[1] [2]",
                           "\xef\xbb\xbf[]",
                           "NaN"}) {
    EXPECT_EQ(code_of(json_parse(text)), "json_invalid") << text;
  }
  EXPECT_EQ(code_of(json_parse("9007199254740991")), "ok");
  EXPECT_EQ(code_of(json_parse("-9007199254740991")), "ok");
}

TEST(CanonicalJson, LimitsHold) {
  const JsonLimits limits{.max_bytes = 64, .max_values = 5, .max_depth = 3};
  EXPECT_EQ(code_of(json_parse("[[[1]]]", limits)), "ok");
  EXPECT_EQ(code_of(json_parse("[[[[1]]]]", limits)), "json_too_large");
  EXPECT_EQ(code_of(json_parse("[1,2,3,4]", limits)), "ok");
  EXPECT_EQ(code_of(json_parse("[1,2,3,4,5]", limits)), "json_too_large");
  EXPECT_EQ(code_of(json_parse(std::string(65, ' '), limits)), "json_too_large");
  EXPECT_EQ(code_of(json_parse(std::string(100000, '['))), "json_too_large");
}

TEST(CanonicalJson, RefusesToPrintWhatItCouldNotRead) {
  const CanonicalValue bad[] = {CanonicalValue("\xff"), CanonicalValue(kJsonIntegerMax + 1),
                                CanonicalValue(Object{{"\xc3\xa9", 1}}),
                                CanonicalValue(Array{Object{{"a\n", 1}}})};
  for (const CanonicalValue& value : bad) {
    const auto text = canonical_print(value);
    ASSERT_FALSE(text);
    EXPECT_EQ(text.error().code, "json_unprintable");
  }
}

TEST(CanonicalJson, LiteralsOfForeignJsonAreKeptAsTextAndNeverPrinted) {
  constexpr const char* kText = R"({"a": [true, false, null, -0.5, 1e3, 2.5E-7], "b": 3})";
  EXPECT_EQ(json_parse(kText).error().code, "json_invalid");
  const JsonLimits keep{.literals = JsonLiterals::kKeep};
  const auto value = json_parse(kText, keep);
  ASSERT_TRUE(value.has_value());
  std::string words;
  for (const CanonicalValue& item : *value->object()->at("a").array()) {
    ASSERT_NE(item.literal(), nullptr);
    words += item.literal()->text + " ";
  }
  EXPECT_EQ(words, "true false null -0.5 1e3 2.5E-7 ");
  EXPECT_EQ(*value->object()->at("b").integer(), 3);
  EXPECT_EQ(canonical_print(*value).error().code, "json_unprintable");
  for (const char* bad : {"tru", "nul", "[truefalse]", "1.", "1.e3", "1e", "1e+", "00.5", "-", "-0",
                          "+1", "NaN", "Infinity", ".5"}) {
    EXPECT_FALSE(json_parse(bad, keep).has_value()) << bad;
  }
}

RC_GTEST_PROP(CanonicalJson, PrintedTextReadsBackToItself,
              (const std::map<std::string, std::vector<std::string>>& fields, std::int64_t n)) {
  Object object{{"n", n % kJsonIntegerMax}};
  for (const auto& [key, strings] : fields) {
    Array items;
    for (const std::string& text : strings) items.emplace_back(text);
    object.emplace(key, items);
  }
  const auto text = canonical_print(CanonicalValue(object));
  if (!text) return;  // a random key or string outside the form
  const auto again = canonical_parse(*text);
  RC_ASSERT(again.has_value());
  RC_ASSERT(*canonical_print(*again) == *text);
}

RC_GTEST_PROP(CanonicalJson, AnyBytesGiveAValueOrANamedError, (std::string text)) {
  static const char* const kSeeds[] = {R"({"a":[1,{"b":"\u00e9\\"}]})", "[[[[]]],{}]", "\"\\u"};
  text = std::string(kSeeds[*rc::gen::inRange(0, 3)]).append(text);
  const std::size_t at = *rc::gen::inRange(std::size_t{0}, text.size());
  text[at] = static_cast<char>(*rc::gen::inRange(0, 256));
  const auto value = json_parse(text);
  if (!value) RC_ASSERT(value.error().code == "json_invalid");
}

}  // namespace
}  // namespace fieldprint
