// How run and complete have their answers supervised, and what they say about it.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "app/config/settings.h"
#include "app/support/model_stack.h"
#include "engine/request.h"
#include "http/server.h"

namespace fieldprint::app {

// Whether text that was shown can be taken back: on a terminal, or where it is shown at the end.
enum class Retractable : std::uint8_t { kNo, kYes };

// Of --release and --min-release. auto: strict.
ReleasePolicy release_policy(const Settings& settings);
// Of --supervisor-workers, --supervisor-ring and --rollback-attempts.
SupervisionOptions supervision_options(const Settings& settings);

// Supervision of one answer; absent: none. messages: the conversation so far, the new message
// last; empty for plain text. --release auto is optimistic where text can be taken back, strict
// elsewhere; what a flag names is an error where it cannot be had. Errors:
// supervision_unavailable.
Result<std::optional<SupervisionRequest>> supervision_for(const Settings& settings,
                                                          const EngineStack& stack,
                                                          std::span<const ChatMessage> messages,
                                                          Retractable retractable);

// "angle 0.41, 2 rollbacks"; of one that ended the answer, why.
std::string report_line(const SupervisionReport& report);

}  // namespace fieldprint::app
