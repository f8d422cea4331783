#include "supervisor/rollback_policy.h"

#include <algorithm>
#include <cmath>

namespace fieldprint {
namespace {

constexpr std::int32_t kMostAttempts = 8;

std::uint64_t block_below(std::uint64_t token) {
  return token / kCheckpointTokens * kCheckpointTokens;
}

bool within(float value, float low, float high) { return value >= low && value <= high; }

// What the ladder asks of a response's past.
struct Past {
  std::int32_t attempts = 0;
  std::array<bool, 8> tried{};
};

Past past_of(std::span<const RollbackRecord> before) {
  Past past;
  for (const RollbackRecord& record : before) {
    if (record.change == RollbackChange::kManual) continue;  // a person's, no attempt of ours
    ++past.attempts;
    past.tried.at(static_cast<std::size_t>(record.change)) = true;
  }
  return past;
}

KvClass heaviest(const RollbackSituation& situation) {
  KvClass found = situation.untrusted.front();
  float most = -1;
  for (const KvClass cls : situation.untrusted) {
    const float mass = situation.mass.at(static_cast<std::size_t>(cls));
    if (!(mass > most)) continue;  // a mass that is none weighs nothing
    most = mass;
    found = cls;
  }
  return found;
}

}  // namespace

Status validate(const RollbackSettings& settings) {
  const auto invalid = [](const std::string& what) {
    return fail(ErrorKind::kInvalid, "invalid_options", "rollback policy: " + what);
  };
  if (settings.max_attempts < 0 || settings.max_attempts > kMostAttempts) {
    return invalid("0 to 8 attempts");
  }
  if (!within(settings.psi, 0, std::nextafter(1.0F, 0.0F))) return invalid("psi is not in [0,1)");
  if (!within(settings.gamma_step, 0, 1)) return invalid("gamma_step is not in [0,1]");
  if (!within(settings.cooler, 0, 1)) return invalid("cooler is not in [0,1]");
  return {};
}

RollbackDecision decide_rollback(const RollbackSettings& settings,
                                 const RollbackSituation& situation) {
  const Past past = past_of(situation.before);
  const auto open = [&](RollbackChange change) {
    return !past.tried.at(static_cast<std::size_t>(change));
  };
  const std::uint64_t final_tokens =
      situation.released_is_final ? std::min(situation.released, situation.generated) : 0;
  // The first checkpoint that keeps what is final; the change point's block if that is later.
  const std::uint64_t floor = block_below(final_tokens + kCheckpointTokens - 1);
  const std::uint64_t to = std::max(block_below(situation.breach.change_token), floor);

  RollbackDecision decision;
  decision.to_token =
      situation.released_is_final ? final_tokens : std::min(to, block_below(situation.generated));
  if (past.attempts >= settings.max_attempts) return decision;
  const bool can_go_back = to < situation.generated;
  if (can_go_back && situation.anchored && open(RollbackChange::kStrongerAnchor)) {
    return {RollbackChange::kStrongerAnchor, to, KvClass::kReserved};
  }
  if (can_go_back && open(RollbackChange::kReseed)) {
    return {RollbackChange::kReseed, to, KvClass::kReserved};
  }
  if (final_tokens > 0 || situation.generated == 0) return decision;
  if (situation.has_reminder && open(RollbackChange::kRemind)) {
    return {RollbackChange::kRemind, 0, KvClass::kReserved};
  }
  if (!situation.untrusted.empty() && open(RollbackChange::kQuarantine)) {
    return {RollbackChange::kQuarantine, 0, heaviest(situation)};
  }
  return decision;
}

}  // namespace fieldprint
