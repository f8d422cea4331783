// Response bodies, whole or as a stream, as `verify --response` reads them.
#include "api/response.h"
#include "core/check.h"
#include "fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto texts = fieldprint::response_texts(fuzz_text(data, size));
  if (texts) FP_CHECK(!texts->empty() && texts->size() <= 16);
  return 0;
}
