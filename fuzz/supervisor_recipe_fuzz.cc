// Recipes of fingerprints and of coherence: whatever is accepted prints back to the same bytes and
// can be used.
#include "core/check.h"
#include "fuzz/input.h"
#include "supervisor/coherence.h"
#include "supervisor/fingerprint.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz_text(data, size);
  if (const auto recipe = fieldprint::parse_fingerprint_recipe(text)) {
    FP_CHECK(fieldprint::print_fingerprint_recipe(*recipe) == text);
  }
  if (const auto recipe = fieldprint::parse_coherence_recipe(text)) {
    FP_CHECK(fieldprint::print_coherence_recipe(*recipe) == text);
    FP_CHECK(fieldprint::Coherence::create(*recipe).has_value());
  }
  return 0;
}
