// How a request is supervised: what it asks for, what the server allows, and what the anchor in
// front can be measured by.
//
// Thread rule: any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "api/request.h"
#include "core/error.h"
#include "http/state.h"

namespace fieldprint {

// A request that runs behind no anchor has nothing that it could drift from.
enum class Anchored : std::uint8_t { kNo, kYes };

// Absent: nothing is tapped. What a request leaves open is the server's default, except that a
// stream never gets `optimistic` unasked: an OpenAI client cannot take text back. An anchor
// without a coherence recipe gives `off`, one without any recipe nothing.
// Errors: release_not_allowed (weaker than the server's minimum); supervision_unavailable (strict
// or optimistic asked for, by the request or as the server's minimum, where no angle can be
// measured).
Result<std::optional<ReleaseMode>> decide_release(const ReleasePolicy& policy,
                                                  const RequestBase& base, Anchored anchored,
                                                  const SupervisionInfo& can);

// The messages with the identity's text as a system message once more, before the last message of
// the user; empty where there is none.
std::vector<ChatMessage> with_reminder(std::span<const ChatMessage> messages,
                                       const std::string& identity);

// The text of the anchor in front; empty: there is none.
std::string identity_in_front(const ServerState& state);

}  // namespace fieldprint
