// Bodies of the sessions' POST routes; the same bytes go through all three.
#include "api/request.h"
#include "core/check.h"
#include "fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using fieldprint::SessionVerb;
  const fieldprint::ApiLimits limits;
  for (const auto verb : {SessionVerb::kRollback, SessionVerb::kFork, SessionVerb::kCheckpoint}) {
    const auto request = fieldprint::parse_session_request(fuzz_text(data, size), verb, limits);
    if (!request) {
      FP_CHECK(!request.error().code.empty());
      continue;
    }
    const fieldprint::SessionTarget& target = request->target;
    FP_CHECK(target.checkpoint.empty() || (!target.turn && !target.token));
    FP_CHECK(verb == SessionVerb::kCheckpoint || request->name.empty());
  }
  return 0;
}
