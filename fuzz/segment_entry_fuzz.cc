// A ledger leaf that reads as a segment prints to the same leaf.
#include "core/check.h"
#include "fuzz/input.h"
#include "supervisor/segment_entry.h"

namespace {

// The binding and head of the seeds: docs/formats/fingerprint.md's segments.
fieldprint::ChainBinding seed_binding() {
  fieldprint::ChainBinding binding;
  binding.response_id = "resp_1";
  binding.salt.fill(0x53);
  binding.numeric_profile = "invariant/test";
  return binding;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto entry = fieldprint::parse_entry(fuzz_text(data, size));
  if (!entry) return 0;
  const fieldprint::ChainBinding binding = seed_binding();
  const auto segment =
      fieldprint::read_segment_entry(*entry, binding, fieldprint::chain_genesis(binding));
  if (!segment) return 0;
  fieldprint::Entry again = fieldprint::segment_entry(binding, *segment);
  again.time_ms = entry->time_ms;
  FP_CHECK(*fieldprint::print_entry(again) == fuzz_text(data, size));
  return 0;
}
