#include <gtest/gtest.h>

#include "codec/canonical_json.h"

namespace fieldprint {
namespace {

struct Read {
  std::string name;
  std::int64_t count = 0;
  std::size_t items = 0;
  Status status;
};

Read read(const char* text) {
  const CanonicalValue value = *json_parse(text);
  FieldReader reader(value, "thing");
  Read result;
  result.name = reader.string("name", 5);
  result.count = reader.integer("count", 1, 9);
  result.items = reader.array("items", 2).size();
  FieldReader inner(reader.object("inner"), "thing.inner");
  inner.integer("x", 0, 1);
  result.status = reader.finish();
  if (result.status) result.status = inner.finish();
  return result;
}

TEST(FieldReader, TakesWhatIsThere) {
  const Read result = read(R"({"name":"abc","count":9,"items":[1,2],"inner":{"x":1}})");
  ASSERT_TRUE(result.status) << result.status.error().message;
  EXPECT_EQ(result.name, "abc");
  EXPECT_EQ(result.count, 9);
  EXPECT_EQ(result.items, 2U);
}

TEST(FieldReader, NamesTheFieldAtFault) {
  const struct {
    const char* text;
    const char* code;
    const char* param;
  } cases[] = {
      {"[]", "json_wrong_type", "thing"},
      {"{}", "json_missing_field", "thing.name"},
      {R"({"name":1,"count":9,"items":[],"inner":{"x":1}})", "json_wrong_type", "thing.name"},
      {R"({"name":"abcdef","count":9,"items":[],"inner":{"x":1}})", "json_out_of_range",
       "thing.name"},
      {R"({"name":"a","count":10,"items":[],"inner":{"x":1}})", "json_out_of_range", "thing.count"},
      {R"({"name":"a","count":"1","items":[],"inner":{"x":1}})", "json_wrong_type", "thing.count"},
      {R"({"name":"a","count":1,"items":[1,2,3],"inner":{"x":1}})", "json_out_of_range",
       "thing.items"},
      {R"({"name":"a","count":1,"items":{},"inner":{"x":1}})", "json_wrong_type", "thing.items"},
      {R"({"name":"a","count":1,"items":[],"inner":[]})", "json_wrong_type", "thing.inner"},
      {R"({"name":"a","count":1,"items":[],"inner":{"x":1},"more":1})", "json_unknown_field",
       "thing.more"},
      {R"({"name":"a","count":1,"items":[],"inner":{"x":1,"y":1}})", "json_unknown_field",
       "thing.inner.y"},
  };
  for (const auto& c : cases) {
    const Read result = read(c.text);
    ASSERT_FALSE(result.status) << c.text;
    EXPECT_EQ(result.status.error().code, c.code) << c.text;
    EXPECT_EQ(result.status.error().param, c.param) << c.text;
  }
}

}  // namespace
}  // namespace fieldprint
