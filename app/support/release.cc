#include "app/support/release.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/response.h"
#include "http/supervision.h"

namespace fieldprint::app {
namespace {

// nullopt: "auto".
std::optional<ReleaseChoice> choice_of(const Settings& settings, const char* option) {
  return parse_release_choice(settings.text(option));
}

}  // namespace

ReleasePolicy release_policy(const Settings& settings) {
  ReleasePolicy policy;
  policy.fallback = choice_of(settings, "release").value_or(ReleaseChoice::kStrict);
  policy.minimum = choice_of(settings, "min-release").value_or(ReleaseChoice::kOff);
  return policy;
}

SupervisionOptions supervision_options(const Settings& settings) {
  SupervisionOptions options;
  options.workers = static_cast<std::int32_t>(settings.integer("supervisor-workers"));
  options.ring_slots = static_cast<std::int32_t>(settings.integer("supervisor-ring"));
  options.rollback.max_attempts = static_cast<std::int32_t>(settings.integer("rollback-attempts"));
  return options;
}

Result<std::optional<SupervisionRequest>> supervision_for(const Settings& settings,
                                                          const EngineStack& stack,
                                                          std::span<const ChatMessage> messages,
                                                          Retractable retractable) {
  const std::optional<ReleaseChoice> named = choice_of(settings, "release");
  ReleasePolicy policy{named.value_or(ReleaseChoice::kOptimistic), ReleaseChoice::kNone};
  if (retractable == Retractable::kNo) {
    if (policy.fallback == ReleaseChoice::kOptimistic) policy.fallback = ReleaseChoice::kStrict;
  }
  RequestBase base;
  if (named && settings.origin("release") == Origin::kFlag) base.release = policy.fallback;
  const AnchorArtifact* anchor = stack.anchor.artifact.get();
  FP_ASSIGN(const std::optional<ReleaseMode> release,
            decide_release(policy, base, anchor == nullptr ? Anchored::kNo : Anchored::kYes,
                           stack.engine->supervision()));
  if (!release) return std::nullopt;
  SupervisionRequest request;
  request.release = *release;
  if (*release == ReleaseMode::kOff || !stack.model.chat) return request;
  const auto reminded = with_reminder(messages, anchor->text);
  if (reminded.empty()) return request;
  ChatRender render;
  render.add_bos = false;  // an anchor stands in front
  // A template that takes no system message there leaves the ladder without that step.
  auto spans = stack.model.chat->render(*stack.model.tokenizer, reminded, render);
  if (spans) request.reminder = std::move(*spans);
  return request;
}

std::string report_line(const SupervisionReport& report) {
  std::string line;
  const std::vector<double> angles = kept_angles(report);
  if (!angles.empty()) {
    line =
        fmt::format("angle {:.2f} (max {:.2f})", angles.back(), *std::ranges::max_element(angles));
  } else {
    line = report.coherence ? "no angle yet" : "fingerprints only";
  }
  const std::size_t rollbacks = report.rollbacks.size();
  if (rollbacks > 0) {
    line += fmt::format(", {} rollback{}", rollbacks, rollbacks == 1 ? "" : "s");
    const RollbackRecord& last = report.rollbacks.back();
    if (last.change == RollbackChange::kStop)
      line += fmt::format(", ENDED by supervision ({}, {:.2f} rad)", breach_cause_name(last.cause),
                          last.angle);
  }
  if (report.gaps > 0) line += fmt::format(", {} tokens unseen", report.gaps);
  if (report.unlogged > 0) line += fmt::format(", {} segments not in the ledger", report.unlogged);
  if (report.state == SupervisionState::kIncomplete) line += ", end not judged";
  return line;
}

}  // namespace fieldprint::app
