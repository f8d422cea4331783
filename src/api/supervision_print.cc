// What supervision found, as JSON: the `fieldprint.supervision` block and rollback events.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "api/print_json.h"
#include "api/response.h"
#include "crypto/sha256.h"

namespace fieldprint {
namespace {

constexpr double kMicro = 1e6;

OrderedJson angle_json(double angle) {
  return std::isfinite(angle) ? OrderedJson(rounded(angle, kMicro)) : OrderedJson(nullptr);
}

OrderedJson angles_json(const SupervisionReport& report) {
  const std::vector<double> angles = kept_angles(report);
  if (angles.empty()) return nullptr;
  const double sum = std::accumulate(angles.begin(), angles.end(), 0.0);
  return {{"measured", angles.size()},
          {"first", angle_json(angles.front())},
          {"last", angle_json(angles.back())},
          {"mean", angle_json(sum / static_cast<double>(angles.size()))},
          {"max", angle_json(*std::ranges::max_element(angles))}};
}

// Why a choice ended with content_filter; null: it did not.
OrderedJson filtered_json(const SupervisionReport& report) {
  if (report.rollbacks.empty() || report.rollbacks.back().change != RollbackChange::kStop) {
    return nullptr;
  }
  const RollbackRecord& last = report.rollbacks.back();
  return {{"cause", breach_cause_name(last.cause)},
          {"angle", angle_json(last.angle)},
          {"attempts", report.rollbacks.size() - 1}};
}

OrderedJson choice_json(std::size_t index, const SupervisionReport& report,
                        TimelineWanted timeline) {
  const bool complete = report.state == SupervisionState::kComplete;
  OrderedJson rollbacks = OrderedJson::array();
  for (const RollbackRecord& record : report.rollbacks) rollbacks.push_back(record_json(record));
  const auto alarms = std::ranges::count_if(report.timeline, [](const SegmentReading& reading) {
    return reading.cause != BreachCause::kNone;
  });
  OrderedJson out = {
      {"choice", index},
      {"release", release_mode_name(report.release)},
      {"state", supervision_state_name(report.state)},
      {"chain_head", complete ? OrderedJson(digest_string(report.chain_head)) : nullptr},
      {"segments", report.segments.size()},
      {"gaps", report.gaps},
      {"unlogged", report.unlogged},
      {"angles", angles_json(report)},
      {"alarms", alarms},
      {"filtered", filtered_json(report)},
      {"rollbacks", std::move(rollbacks)}};
  if (timeline == TimelineWanted::kOff) return out;
  OrderedJson readings = OrderedJson::array();
  for (const SegmentReading& reading : report.timeline) {
    readings.push_back(reading_json(reading, reading_stayed(reading, report.rollbacks)));
  }
  out["timeline"] = std::move(readings);
  return out;
}

}  // namespace

OrderedJson record_json(const RollbackRecord& record) {
  OrderedJson quarantined = nullptr;
  if (record.change == RollbackChange::kQuarantine) {
    quarantined = kv_class_name(record.quarantined);
  }
  return {
      {"from_token", record.from_token},           {"to_token", record.to_token},
      {"released_tokens", record.released_tokens}, {"change", rollback_change_name(record.change)},
      {"cause", breach_cause_name(record.cause)},  {"angle", angle_json(record.angle)},
      {"quarantined", std::move(quarantined)},     {"attention_mass", mass_json(record.mass)}};
}

OrderedJson reading_json(const SegmentReading& reading, bool kept) {
  OrderedJson angle = reading.measured ? angle_json(reading.angle) : OrderedJson(nullptr);
  return {{"generation", reading.generation},
          {"first_token", reading.first_token},
          {"end_token", reading.end_token},
          {"angle", std::move(angle)},
          {"score", angle_json(reading.score)},
          {"evidence", angle_json(reading.evidence)},
          {"cause", breach_cause_name(reading.cause)},
          {"kept", kept}};
}

OrderedJson supervision_json(const Evidence& evidence) {
  OrderedJson choices = OrderedJson::array();
  for (std::size_t i = 0; i < evidence.supervision.size(); ++i) {
    const auto& report = evidence.supervision[i];
    if (report) choices.push_back(choice_json(i, *report, evidence.timeline));
  }
  return choices.empty() ? OrderedJson(nullptr) : choices;
}

OrderedJson rollback_event_json(const RollbackEvent& event, std::uint32_t ordinal) {
  const RollbackRecord& record = event.record;
  return {{"choice", event.choice},
          {"from_index", event.text_characters},
          {"from_byte", event.text_bytes},
          {"from_logprob", event.logprobs},
          {"generation", ordinal},
          {"reason", breach_cause_name(record.cause)},
          {"change", rollback_change_name(record.change)},
          {"angle", angle_json(record.angle)},
          {"from_token", record.from_token},
          {"to_token", record.to_token},
          {"released_tokens", record.released_tokens}};
}

}  // namespace fieldprint
