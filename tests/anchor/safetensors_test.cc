#include "anchor/safetensors.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <set>

#include "support.h"

namespace fieldprint {
namespace {

using test::code_of;

std::string with_length(const std::string& json) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>((json.size() >> (8 * i)) & 0xFF));
  return bytes + json;
}

Result<SafetensorsHeader> parse(const std::string& bytes, std::size_t data) {
  return parse_safetensors_header(
      std::span(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()),
      bytes.size() + data);
}
Result<SafetensorsHeader> parse_json(const std::string& json, std::size_t data) {
  return parse(with_length(json), data);
}

TEST(Safetensors, WrittenHeaderReadsBack) {
  std::vector<TensorInfo> tensors = {{"z", TensorType::kBf16, {2, 3}},
                                     {"a", TensorType::kF32, {5}},
                                     {"empty", TensorType::kF32, {0, 7}},
                                     {"scalar", TensorType::kF32, {}}};
  const std::string bytes = layout_safetensors(tensors);
  EXPECT_EQ(bytes.size() % 8, 0U);
  const auto header = parse(bytes, 12 + 20 + 0 + 4);
  ASSERT_TRUE(header) << header.error().message;
  EXPECT_EQ(header->data_start, bytes.size());
  ASSERT_EQ(header->tensors.size(), 4U);
  EXPECT_EQ(header->tensors[0].name, "z");
  EXPECT_EQ(header->tensors[0].shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(header->tensors[1].begin, 12U);
  EXPECT_EQ(header->tensors[1].end, 32U);
  EXPECT_EQ(header->tensors[3].end, 36U);
}

// The container's own description gives a header of this form.
TEST(Safetensors, ReadsTheDocumentedForm) {
  const auto header = parse_json(
      R"({"__metadata__":{"foo":"ba"},"t":{"dtype":"BF16","shape":[1,4],"data_offsets":[0,8]}}   )",
      8);
  ASSERT_TRUE(header) << header.error().message;
  EXPECT_EQ(header->metadata.at("foo"), "ba");
  EXPECT_EQ(header->tensors[0].type, TensorType::kBf16);
}

TEST(Safetensors, NamesWhatIsWrong) {
  const struct {
    const char* json;
    std::size_t data;
    const char* code;
  } cases[] = {
      {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8, "ok"},
      {R"({"t":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}})", 4, "safetensors_unsupported"},
      {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 9, "safetensors_invalid"},
      {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7, "safetensors_invalid"},
      {R"({"t":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8, "safetensors_invalid"},
      {R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "safetensors_invalid"},
      {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8, "safetensors_invalid"},
      {R"({"t":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8, "safetensors_invalid"},
      {R"({"t":{"dtype":"F32","shape":["2"],"data_offsets":[0,8]}})", 8, "safetensors_invalid"},
      {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0]}})", 8, "safetensors_invalid"},
      {R"({"t":{"dtype":"F32","shape":[2]}})", 8, "safetensors_invalid"},
      {R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})", 8, "safetensors_invalid"},
      {R"({"t":[]})", 8, "safetensors_invalid"},
      {R"({"__metadata__":[]})", 0, "safetensors_invalid"},
      {R"({"__metadata__":{"a":1}})", 0, "safetensors_invalid"},
      {R"({})", 0, "ok"},
      {R"( {})", 0, "safetensors_invalid"},
      {R"([])", 0, "safetensors_invalid"},
      {"", 0, "safetensors_invalid"},
      {R"({"t":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})", 4,
       "safetensors_invalid"},
      {R"({"t":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
       "safetensors_invalid"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
       R"("b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
       8, "safetensors_invalid"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
       R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
       12, "safetensors_invalid"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
       R"("b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})",
       12, "safetensors_invalid"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(code_of(parse_json(c.json, c.data)), c.code) << c.json << " + " << c.data;
  }
}

TEST(Safetensors, LengthsAreNeverTrusted) {
  for (std::size_t n = 0; n < 8; ++n) {
    EXPECT_EQ(code_of(parse(std::string(n, '\0'), 0)), "safetensors_truncated");
  }
  EXPECT_EQ(code_of(parse(std::string(8, '\xff'), 100)), "safetensors_too_large");
  EXPECT_EQ(code_of(parse(with_length("{}").substr(0, 9), 0)), "safetensors_truncated");
  EXPECT_EQ(code_of(parse(with_length("{}").substr(0, 9), 1)), "safetensors_truncated")
      << "the file is long enough, the bytes given are not";
  std::string many = "{";
  for (std::size_t i = 0; i <= kSafetensorsMaxTensors; ++i) {
    many += "\"" + std::to_string(i) + R"(":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},)";
  }
  many.back() = '}';
  EXPECT_EQ(code_of(parse_json(many, 0)), "safetensors_too_large");
}

RC_GTEST_PROP(Safetensors, MangledHeadersGiveANamedError, ()) {
  static const std::set<std::string> named = {"safetensors_truncated", "safetensors_too_large",
                                              "safetensors_invalid", "safetensors_unsupported"};
  std::vector<TensorInfo> tensors = {{"k", TensorType::kBf16, {2, 3}},
                                     {"b", TensorType::kF32, {5}}};
  std::string bytes = layout_safetensors(tensors);
  const int edits = *rc::gen::inRange(1, 5);
  for (int i = 0; i < edits; ++i) {
    const std::size_t at = *rc::gen::inRange(std::size_t{0}, bytes.size());
    bytes[at] = static_cast<char>(*rc::gen::inRange(0, 256));
  }
  bytes.resize(*rc::gen::inRange(std::size_t{0}, bytes.size() + 1));
  const auto header = parse(bytes, *rc::gen::inRange(std::size_t{0}, std::size_t{64}));
  if (!header) RC_ASSERT(named.contains(header.error().code));
}

}  // namespace
}  // namespace fieldprint
