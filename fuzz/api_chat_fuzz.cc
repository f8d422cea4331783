// Bodies of POST /v1/chat/completions: any bytes give a request or a named error.
#include "api/request.h"
#include "core/check.h"
#include "fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fieldprint::ApiLimits limits;
  const auto request = fieldprint::parse_chat_request(fuzz_text(data, size), limits);
  if (!request) {
    FP_CHECK(!request.error().code.empty());
    return 0;
  }
  FP_CHECK(!request->messages.empty() && request->messages.size() <= limits.messages);
  FP_CHECK(request->base.choices >= 1 && request->base.choices <= limits.choices);
  FP_CHECK(request->base.stop.size() <= limits.stop_strings);
  FP_CHECK(request->base.ignored_fields.size() <= limits.ignored_listed);
  return 0;
}
