// add-checkpoint requests and 409 answers: what reads prints to the same bytes.
#include "core/check.h"
#include "fuzz/input.h"
#include "merkle/witness_protocol.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz_text(data, size);
  if (const auto request = fieldprint::parse_add_checkpoint(text)) {
    FP_CHECK(fieldprint::print_add_checkpoint(*request) == text);
  }
  if (const auto old = fieldprint::parse_tlog_size(text)) {
    FP_CHECK(fieldprint::print_tlog_size(*old) == text);
  }
  return 0;
}
