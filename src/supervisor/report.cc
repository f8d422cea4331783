#include "supervisor/report.h"

#include "core/check.h"

namespace fieldprint {

const char* release_mode_name(ReleaseMode mode) {
  switch (mode) {
    case ReleaseMode::kOff:
      return "off";
    case ReleaseMode::kOptimistic:
      return "optimistic";
    case ReleaseMode::kStrict:
      return "strict";
  }
  FP_UNREACHABLE();
}

const char* breach_cause_name(BreachCause cause) {
  switch (cause) {
    case BreachCause::kNone:
      return "none";
    case BreachCause::kDetector:
      return "detector";
    case BreachCause::kLimit:
      return "limit";
    case BreachCause::kNoDirection:
      return "no_direction";
    case BreachCause::kStateInvalid:
      return "state_invalid";
  }
  FP_UNREACHABLE();
}

const char* rollback_change_name(RollbackChange change) {
  switch (change) {
    case RollbackChange::kStrongerAnchor:
      return "stronger_anchor";
    case RollbackChange::kReseed:
      return "reseed";
    case RollbackChange::kRemind:
      return "remind";
    case RollbackChange::kQuarantine:
      return "quarantine";
    case RollbackChange::kStop:
      return "stop";
    case RollbackChange::kManual:
      return "manual";
  }
  FP_UNREACHABLE();
}

const char* supervision_state_name(SupervisionState state) {
  switch (state) {
    case SupervisionState::kComplete:
      return "complete";
    case SupervisionState::kIncomplete:
      return "incomplete";
  }
  FP_UNREACHABLE();
}

bool reading_stayed(const SegmentReading& reading, std::span<const RollbackRecord> rollbacks) {
  for (std::size_t i = reading.generation; i < rollbacks.size(); ++i) {
    if (rollbacks[i].to_token < reading.end_token) return false;
  }
  return true;
}

std::vector<double> kept_angles(const SupervisionReport& report) {
  std::vector<double> angles;
  for (const SegmentReading& reading : report.timeline) {
    if (reading.measured && reading_stayed(reading, report.rollbacks)) {
      angles.push_back(reading.angle);
    }
  }
  return angles;
}

}  // namespace fieldprint
