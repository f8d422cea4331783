#include "anchor/document.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <set>

#include "support.h"

namespace fieldprint {
namespace {

using test::code_of;
using test::must;
using test::tiny_anchor;

Result<AnchorDocument> parse(const std::string& text) {
  return parse_anchor_json(
      std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()));
}

std::string tiny_json() { return must(print_anchor_json(must(describe_anchor(tiny_anchor())))); }

std::string replaced(const std::string& from, const std::string& to) {
  std::string text = tiny_json();
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(AnchorDocument, PrintsWhatItReads) {
  const auto document = parse(tiny_json());
  ASSERT_TRUE(document);
  EXPECT_EQ(must(print_anchor_json(*document)), tiny_json());
  EXPECT_EQ(document->text.size, 10U);
}

TEST(AnchorDocument, NamesWhatIsWrong) {
  const struct {
    const char* from;
    const char* to;
    const char* code;
    const char* names;  // what the message must name
  } cases[] = {
      {R"("version":1)", R"("version":2)", "anchor_version", "version 2"},
      {R"("version":1)", R"("version":"1")", "anchor_corrupt", "version"},
      {R"("format":"fieldprint-anchor")", R"("format":"else")", "anchor_corrupt", "format"},
      {R"("layers":2,)", R"("layers":2,"liege":1,)", "anchor_unknown_field", "liege"},
      {R"("method":"exact",)", R"("method":"exact","mood":"",)", "anchor_unknown_field", "mood"},
      {R"("size":10})", R"("size":10,"unit":""})", "anchor_unknown_field", "unit"},
      {R"("method":"exact")", R"("method":"magic")", "anchor_version", "magic"},
      {R"("wrap":"system")", R"("wrap":"user")", "anchor_version", "user"},
      {R"("layers":2,)", "", "anchor_corrupt", "layers"},
      {R"("layers":2)", R"("layers":0)", "anchor_corrupt", "layers"},
      {R"("layers":2)", R"("layers":1025)", "anchor_corrupt", "layers"},
      {R"("layers":2)", R"("layers":2.0)", "anchor_corrupt", "integers"},
      {R"("layers":2)", R"("layers": 2)", "anchor_corrupt", "canonical"},
      {R"("tokens":[1,57,1024])", R"("tokens":[1])", "anchor_corrupt", "tokens"},
      {R"("tokens":[1,57,1024])", R"("tokens":[1,-57])", "anchor_corrupt", "token id"},
      {R"("tokens":[1,57,1024])", R"("tokens":[1,2147483648])", "anchor_corrupt", "token id"},
      {R"("tokens":[1,57,1024])", R"("tokens":[1,"x"])", "anchor_corrupt", "token id"},
      {R"("name":"tiny")", R"("name":"")", "anchor_name_invalid", "name"},
      {R"("name":"tiny")", R"("name":"\n")", "anchor_name_invalid", "name"},
      {R"("model_digest":"sha256:0)", R"("model_digest":"sha256:G)", "anchor_corrupt",
       "model_digest"},
      {R"("size":10)", R"("size":1048577)", "anchor_corrupt", "size"},
  };
  for (const auto& c : cases) {
    const auto document = parse(replaced(c.from, c.to));
    ASSERT_FALSE(document) << c.to;
    EXPECT_EQ(document.error().code, c.code) << c.to << ": " << document.error().message;
    EXPECT_NE(document.error().message.find(c.names), std::string::npos)
        << c.to << ": " << document.error().message;
  }
}

TEST(AnchorDocument, LimitsOnTokensAndRows) {
  AnchorArtifact anchor = tiny_anchor();
  anchor.tokens.assign(static_cast<std::size_t>(kAnchorMaxTokens) + 1, 5);
  EXPECT_EQ(code_of(describe_anchor(anchor)), "anchor_too_large");
  anchor.tokens.pop_back();
  anchor.layers = kAnchorMaxLayers;
  anchor.kv_heads = kAnchorMaxHeads;
  anchor.head_dim = kAnchorMaxHeadDim;
  EXPECT_EQ(code_of(describe_anchor(anchor)), "anchor_too_large") << "rows of 32 TiB";
  anchor = tiny_anchor();
  anchor.text.assign(kAnchorMaxText + 1, 'x');
  EXPECT_EQ(code_of(describe_anchor(anchor)), "anchor_too_large");
  anchor = tiny_anchor();
  anchor.k.pop_back();
  EXPECT_EQ(code_of(describe_anchor(anchor)), "anchor_corrupt");
  anchor = tiny_anchor();
  anchor.text = "\xff";
  EXPECT_EQ(code_of(describe_anchor(anchor)), "anchor_corrupt");
}

RC_GTEST_PROP(AnchorDocument, MangledJsonGivesANamedError, ()) {
  static const std::set<std::string> named = {"anchor_corrupt", "anchor_too_large",
                                              "anchor_version", "anchor_unknown_field",
                                              "anchor_name_invalid"};
  static const std::string good = tiny_json();
  std::string text = good;
  const int edits = *rc::gen::inRange(1, 4);
  for (int i = 0; i < edits; ++i) {
    const std::size_t at = *rc::gen::inRange(std::size_t{0}, text.size());
    const std::size_t count = *rc::gen::inRange(std::size_t{0}, std::size_t{20});
    text.replace(at, count, good.substr(*rc::gen::inRange(std::size_t{0}, good.size()), count));
    if (text.empty()) text = "{";
  }
  const auto document = parse(text);
  if (!document) RC_ASSERT(named.contains(document.error().code));
}

}  // namespace
}  // namespace fieldprint
