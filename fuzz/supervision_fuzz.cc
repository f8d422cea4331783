// Supervision recipes: whatever is accepted prints back to the same bytes.
#include "core/check.h"
#include "fuzz/input.h"
#include "supervisor/recipe.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz_text(data, size);
  if (const auto recipe = fieldprint::parse_supervision_recipe(text)) {
    FP_CHECK(fieldprint::print_supervision_recipe(*recipe) == text);
  }
  return 0;
}
