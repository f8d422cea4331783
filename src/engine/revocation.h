// Taking an anchor away while it is served: what can be asked for and what came of it.
//
// Within the command, so before the next token of anybody: no new request gets the anchor,
// every conversation behind it has ended or has given its KV rows back, every cached prefix
// derived from it has left the index, and its own rows are overwritten and unpinned. Pages
// that were computed behind it are free, not overwritten: no page table names them. What was
// sent before cannot be recalled.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"

namespace fieldprint {

// What happens to conversations that run or wait behind the revoked anchor.
enum class RevocationPolicy : std::uint8_t {
  kEnd,       // they fail with anchor_revoked
  kReanchor,  // their KV is dropped and computed again behind the replacement, or behind none
};
const char* revocation_policy_name(RevocationPolicy policy);  // "end", "reanchor"

struct RevocationOutcome {
  bool was_in_front = false;      // false: only remembered, so that it is never loaded
  std::int32_t ended = 0;         // requests failed with anchor_revoked
  std::int32_t reanchored = 0;    // requests that go on without it
  std::int32_t anchor_pages = 0;  // pinned pages given back
  std::int32_t prefix_pages = 0;  // pages that left the prefix cache
  std::string replacement;        // digest of what stands in front now; empty: nothing
  std::string scrub;              // code, if overwriting failed; the rows are unreachable
  std::string not_replaced;       // code, if the replacement did not load: they ended
};

// What an engine serves behind, for status pages and metrics.
struct AnchorState {
  std::string digest;                // in front of new requests; empty: nothing is
  bool refusing = false;             // an anchor was revoked and nothing replaced it
  std::vector<std::string> revoked;  // digests, ascending
};

// The one error of requests that a revoked anchor stands in the way of. Code anchor_revoked.
Error anchor_revoked_error(const std::string& digest);

}  // namespace fieldprint
