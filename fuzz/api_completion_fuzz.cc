// Bodies of POST /v1/completions: any bytes give a request or a named error.
#include "api/request.h"
#include "core/check.h"
#include "fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fieldprint::ApiLimits limits;
  const auto request = fieldprint::parse_completion_request(fuzz_text(data, size), limits);
  if (!request) {
    FP_CHECK(!request.error().code.empty());
    return 0;
  }
  FP_CHECK(request->base.choices >= 1 && request->base.choices <= limits.choices);
  FP_CHECK(request->base.max_tokens >= -1 && request->base.max_tokens <= limits.max_tokens);
  return 0;
}
