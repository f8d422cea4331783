// anchor.json: whatever is accepted is canonical, so printing it gives the same bytes.
#include <span>

#include "anchor/document.h"
#include "core/check.h"
#include "fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto document = fieldprint::parse_anchor_json(std::span(data, size));
  if (!document) {
    FP_CHECK(!document.error().code.empty());
    return 0;
  }
  const auto printed = fieldprint::print_anchor_json(*document);
  FP_CHECK(printed.has_value());
  FP_CHECK(*printed == fuzz_text(data, size));
  return 0;
}
