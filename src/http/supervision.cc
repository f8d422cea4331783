#include "http/supervision.h"

#include <algorithm>
#include <string>
#include <utility>

#include "http/receipt_draft.h"

namespace fieldprint {
namespace {

constexpr const char* kParam = "fieldprint.release";

tl::unexpected<Error> unavailable(Anchored anchored) {
  return fail(ErrorKind::kInvalid, "supervision_unavailable",
              anchored == Anchored::kNo
                  ? "this request runs without an anchor, so there is nothing it could drift from; "
                    "ask for release 'off'"
                  : "the anchor in front has no coherence recipe, so no angle can be measured; "
                    "'fieldprint anchor calibrate' makes one, or ask for release 'off'",
              kParam);
}

}  // namespace

Result<std::optional<ReleaseMode>> decide_release(const ReleasePolicy& policy,
                                                  const RequestBase& base, Anchored anchored,
                                                  const SupervisionInfo& can) {
  if (base.release && *base.release < policy.minimum) {
    return fail(ErrorKind::kForbidden, "release_not_allowed",
                std::string("release '") + release_choice_name(*base.release) +
                    "' is weaker than this server allows; the weakest is '" +
                    release_choice_name(policy.minimum) + "' (--min-release)",
                kParam);
  }
  ReleaseChoice choice = base.release.value_or(std::max(policy.fallback, policy.minimum));
  const bool asked = base.release.has_value();
  if (!asked && choice == ReleaseChoice::kOptimistic && base.streaming == Streaming::kOn) {
    choice = ReleaseChoice::kStrict;
  }
  const bool measures = anchored == Anchored::kYes && can.coherence;
  if (choice >= ReleaseChoice::kOptimistic && !measures) {
    // An override is leave to run without the anchor, so the minimum does not hold for it.
    const bool demanded =
        anchored == Anchored::kYes && policy.minimum >= ReleaseChoice::kOptimistic;
    if (asked || demanded) return unavailable(anchored);
    choice = ReleaseChoice::kOff;
  }
  const bool records = anchored == Anchored::kYes && can.fingerprints;
  switch (choice) {
    case ReleaseChoice::kNone:
      return std::nullopt;
    case ReleaseChoice::kOff:
      return records ? std::optional(ReleaseMode::kOff) : std::nullopt;
    case ReleaseChoice::kOptimistic:
      return ReleaseMode::kOptimistic;
    case ReleaseChoice::kStrict:
      return ReleaseMode::kStrict;
  }
  return std::nullopt;
}

std::vector<ChatMessage> with_reminder(std::span<const ChatMessage> messages,
                                       const std::string& identity) {
  std::vector<ChatMessage> out(messages.begin(), messages.end());
  const auto last = std::find_if(out.rbegin(), out.rend(),
                                 [](const ChatMessage& message) { return message.role == "user"; });
  if (last == out.rend()) return {};
  out.insert(std::prev(last.base()), ChatMessage{"system", identity});
  return out;
}

std::string identity_in_front(const ServerState& state) {
  const std::string digest = state.service.engine->anchor_state().digest;
  const std::optional<AnchorStanding> front = standing_of(state.service, digest);
  return front ? front->binding.artifact->text : std::string();
}

}  // namespace fieldprint
