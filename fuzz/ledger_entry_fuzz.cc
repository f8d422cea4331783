// A leaf that reads prints to the same bytes: an entry has one spelling, so one leaf hash.
#include "core/check.h"
#include "fuzz/input.h"
#include "ledger/entry.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz_text(data, size);
  const auto entry = fieldprint::parse_entry(text);
  if (!entry) return 0;
  FP_CHECK(text.size() <= fieldprint::kMaxLeafBytes);
  const auto printed = fieldprint::print_entry(*entry);
  FP_CHECK(printed.has_value());
  FP_CHECK(*printed == text);
  return 0;
}
