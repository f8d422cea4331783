// What we sign: a text that reads prints to canonical bytes, and those are a fixed point.
#include "codec/canonical_json.h"
#include "core/check.h"
#include "fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz_text(data, size);
  const auto value = fieldprint::json_parse(text);
  if (!value) {
    FP_CHECK(!fieldprint::canonical_parse(text));
    return 0;
  }
  const auto printed = fieldprint::canonical_print(*value);
  if (!printed) return 0;
  const auto again = fieldprint::canonical_parse(*printed);
  FP_CHECK(again.has_value());
  FP_CHECK(fieldprint::canonical_print(*again) == *printed);
  FP_CHECK(fieldprint::canonical_parse(text).has_value() == (text == *printed));
  return 0;
}
