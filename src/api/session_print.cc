// Sessions as JSON.
#include <utility>

#include "api/print_json.h"
#include "api/response.h"
#include "core/check.h"
#include "supervisor/drift.h"
#include "supervisor/supervisor.h"

namespace fieldprint {
namespace {

constexpr double kMicro = 1e6;

OrderedJson place_json(const SessionPlace& place) {
  return {{"turn", place.turn}, {"token", place.token}};
}

OrderedJson head_json(const Session& session) {
  OrderedJson parent = nullptr;
  if (!session.parent.empty()) {
    parent = place_json(session.parent_place);
    parent["id"] = session.parent;
  }
  return {{"id", session.id}, {"end", place_json(session.end())}, {"parent", std::move(parent)}};
}

OrderedJson summary_json(const SessionView& view, std::int64_t idle_seconds) {
  const Session& session = *view.session;
  OrderedJson out = head_json(session);
  out["created"] = session.created;
  out["used"] = session.used;
  out["expires"] = session.used + idle_seconds;
  out["bytes"] = session_bytes(session);
  out["busy"] = view.busy;
  return out;
}

OrderedJson supervision_json(const SessionSupervision& kept) {
  const bool complete = kept.state == SupervisionState::kComplete;
  OrderedJson rollbacks = OrderedJson::array();
  for (const RollbackRecord& record : kept.rollbacks) rollbacks.push_back(record_json(record));
  return {{"release", release_mode_name(kept.release)},
          {"state", supervision_state_name(kept.state)},
          {"chain_head", complete ? OrderedJson(digest_string(kept.chain_head)) : nullptr},
          {"gaps", kept.gaps},
          {"unlogged", kept.unlogged},
          {"rollbacks", std::move(rollbacks)}};
}

OrderedJson response_json(const SessionResponse& response) {
  OrderedJson supervision = nullptr;
  if (response.supervision) supervision = supervision_json(*response.supervision);
  return {{"id", response.id},
          {"receipt", text_or_null(response.receipt)},
          {"override", text_or_null(response.override_digest)},
          {"anchor", text_or_null(response.anchor)},
          {"first_token", response.first_token},
          {"end_token", response.end_token},
          {"cut", response.cut},
          {"finish_reason", finish_reason_name(response.reason)},
          {"seed", seed_json(response.seed)},
          {"attention_mass", mass_json(response.mass)},
          {"supervision", std::move(supervision)}};
}

OrderedJson turn_json(const SessionTurn& turn, std::size_t number, const std::string& answer) {
  OrderedJson messages = OrderedJson::array();
  for (const ChatMessage& message : turn.messages)
    messages.push_back({{"role", message.role}, {"content", message.content}});
  OrderedJson responses = OrderedJson::array();
  for (const SessionResponse& response : turn.responses)
    responses.push_back(response_json(response));
  return {{"turn", number},
          {"messages", std::move(messages)},
          {"answer", {{"text", answer}, {"tokens", turn.answer.size()}, {"ended", turn.ended}}},
          {"responses", std::move(responses)}};
}

// Readings of all responses, tokens counted from the beginning of the turn's answer.
OrderedJson timeline_json(const Session& session) {
  OrderedJson timeline = OrderedJson::array();
  for (std::size_t i = 0; i < session.turns.size(); ++i) {
    for (const SessionResponse& response : session.turns[i]->responses) {
      if (!response.supervision) continue;
      const SessionSupervision& kept = *response.supervision;
      for (SegmentReading reading : kept.timeline) {
        const bool stayed = reading_stayed(reading, kept.rollbacks);
        reading.first_token += response.first_token;
        reading.end_token += response.first_token;
        OrderedJson entry = {{"turn", i + 1}};
        entry.update(reading_json(reading, stayed));
        timeline.push_back(std::move(entry));
      }
    }
  }
  return timeline;
}

OrderedJson fit_json(const Result<DriftFit>& result) {
  if (!result) return {{"fit", nullptr}, {"code", result.error().code}};
  const DriftFit& fit = *result;
  const auto number = [](double value) { return rounded(value, kMicro); };
  OrderedJson residuals = {{"lag1", number(fit.residuals.lag1)},
                           {"skewness", number(fit.residuals.skewness)},
                           {"kurtosis", number(fit.residuals.kurtosis)},
                           {"level", number(fit.residuals.level)},
                           {"acceptable", fit.residuals.acceptable}};
  OrderedJson numbers = {{"increments", fit.increments},
                         {"k", number(fit.k)},
                         {"k_error", number(fit.k_error)},
                         {"s2", number(fit.s2)},
                         {"s2_error", number(fit.s2_error)},
                         {"margin", number(fit.margin)},
                         {"margin_error", number(fit.margin_error)},
                         {"margin_bound", number(fit.margin_bound)},
                         {"residuals", std::move(residuals)},
                         {"mean_square_stable", fit.mean_square_stable()}};
  return {{"fit", std::move(numbers)}, {"code", nullptr}};
}

// Per segment. Within answers: no increment from one response to the next, where a message came
// between and pooling began afresh. Across: all angles as one series.
OrderedJson drift_json(const Session& session) {
  const std::vector<std::vector<double>> angles = session_angles(session);
  std::vector<std::span<const double>> parts(angles.begin(), angles.end());
  std::vector<double> all;
  for (const auto& part : angles) all.insert(all.end(), part.begin(), part.end());
  return {{"angles", all.size()},
          {"within_answers", fit_json(fit_drift_pooled(parts, 1.0))},
          {"across_answers", fit_json(fit_drift(all, 1.0))}};
}

}  // namespace

std::string print_session_list(std::span<const SessionView> sessions, std::int64_t idle_seconds) {
  OrderedJson data = OrderedJson::array();
  for (const SessionView& view : sessions) data.push_back(summary_json(view, idle_seconds));
  return dump_json({{"object", "list"}, {"data", std::move(data)}});
}

std::string print_session(const SessionView& view, std::span<const std::string> answers,
                          std::int64_t idle_seconds) {
  const Session& session = *view.session;
  FP_CHECK(answers.size() == session.turns.size());
  OrderedJson turns = OrderedJson::array();
  for (std::size_t i = 0; i < session.turns.size(); ++i)
    turns.push_back(turn_json(*session.turns[i], i + 1, answers[i]));
  OrderedJson checkpoints = OrderedJson::array();
  for (const auto& [name, place] : session.checkpoints) {
    checkpoints.push_back(place_json(place));
    checkpoints.back()["name"] = name;
  }
  OrderedJson undos = OrderedJson::array();
  for (const SessionUndo& undo : session.undos) {
    undos.push_back(
        {{"from", place_json(undo.from)}, {"to", place_json(undo.to)}, {"time", undo.time}});
  }
  OrderedJson out = summary_json(view, idle_seconds);
  out["block_tokens"] = kCheckpointTokens;
  out["turns"] = std::move(turns);
  out["checkpoints"] = std::move(checkpoints);
  out["rollbacks"] = std::move(undos);
  out["timeline"] = timeline_json(session);
  out["drift"] = drift_json(session);
  return dump_json(out);
}

std::string print_session_head(const Session& session) { return dump_json(head_json(session)); }

std::string print_session_deleted(const std::string& id) {
  return dump_json({{"id", id}, {"deleted", true}});
}

}  // namespace fieldprint
