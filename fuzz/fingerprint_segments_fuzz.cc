// Stored fingerprint segments: whatever is accepted prints back to the same bytes, and the chain
// check, which sees what the parser let through, answers.
#include <span>

#include "core/check.h"
#include "fuzz/input.h"
#include "supervisor/chain.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto segments = fieldprint::parse_segments(std::span(data, size));
  if (!segments) {
    FP_CHECK(segments.error().code == "fingerprint_segment_invalid");
    return 0;
  }
  FP_CHECK(fieldprint::print_segments(*segments) == fuzz_text(data, size));
  fieldprint::ChainBinding binding;
  binding.response_id = "resp_1";
  binding.numeric_profile = "invariant/test";
  const auto checked = fieldprint::check_chain(binding, *segments);
  FP_CHECK(checked || checked.error().code == "fingerprint_chain_broken");
  return 0;
}
