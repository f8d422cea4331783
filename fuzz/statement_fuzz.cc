// Statements: whatever is accepted is canonical, so printing it gives the same bytes.
#include "core/check.h"
#include "fuzz/input.h"
#include "provenance/statement.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto statement = fieldprint::parse_statement(fuzz_text(data, size));
  if (!statement) {
    FP_CHECK(!statement.error().code.empty());
    return 0;
  }
  const auto printed = fieldprint::print_statement(*statement);
  FP_CHECK(printed.has_value());
  FP_CHECK(*printed == fuzz_text(data, size));
  return 0;
}
