// Trust roots, as documents and in their envelopes: what is accepted prints to the same bytes,
// and an envelope is accepted only if its document is.
#include "core/check.h"
#include "fuzz/input.h"
#include "provenance/trust_root.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz_text(data, size);
  if (const auto root = fieldprint::parse_root(text)) {
    const auto printed = fieldprint::print_root(*root);
    FP_CHECK(printed.has_value());
    FP_CHECK(*printed == text);
  }
  if (const auto opened = fieldprint::open_root(text)) {
    FP_CHECK(fieldprint::print_root(opened->root).has_value());
  }
  return 0;
}
