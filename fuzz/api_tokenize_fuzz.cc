// Bodies of POST /tokenize and POST /detokenize; the same bytes go through both parsers.
#include "api/request.h"
#include "core/check.h"
#include "fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fieldprint::ApiLimits limits;
  const auto tokenize = fieldprint::parse_tokenize_request(fuzz_text(data, size), limits);
  if (tokenize) {
    FP_CHECK(tokenize->text.has_value() != !tokenize->messages.empty());
  } else {
    FP_CHECK(!tokenize.error().code.empty());
  }
  const auto detokenize = fieldprint::parse_detokenize_request(fuzz_text(data, size), limits);
  if (!detokenize) FP_CHECK(!detokenize.error().code.empty());
  return 0;
}
