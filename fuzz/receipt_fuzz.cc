// A receipt that reads prints to the same bytes: one spelling, so one digest in the log.
#include "core/check.h"
#include "fuzz/input.h"
#include "ledger/receipt.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz_text(data, size);
  if (const auto receipt = fieldprint::parse_receipt(text)) {
    const auto printed = fieldprint::print_receipt(*receipt);
    FP_CHECK(printed.has_value());
    FP_CHECK(*printed == text);
    FP_CHECK(fieldprint::receipt_entry(*receipt, text).has_value());
  }
  if (const auto file = fieldprint::parse_receipt_file(text)) {
    const auto again = fieldprint::parse_receipt_file(fieldprint::print_receipt_file(*file));
    FP_CHECK(again.has_value());
    FP_CHECK(again->leaf == file->leaf && again->proof == file->proof);
  }
  return 0;
}
