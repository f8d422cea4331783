// A checkpoint body that reads prints to the same bytes.
#include "core/check.h"
#include "fuzz/input.h"
#include "merkle/checkpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz_text(data, size);
  const auto checkpoint = fieldprint::checkpoint_parse(text);
  if (!checkpoint) return 0;
  FP_CHECK(fieldprint::checkpoint_print(*checkpoint) == text);
  FP_CHECK(checkpoint->size <= fieldprint::kMaxTreeSize);
  return 0;
}
