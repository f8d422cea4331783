#include "engine/session.h"

#include <algorithm>
#include <numbers>
#include <utility>

#include "core/check.h"
#include "supervisor/supervisor.h"

namespace fieldprint {
namespace {

tl::unexpected<Error> no_place(std::string message) {
  return fail(ErrorKind::kInvalid, "session_place_invalid", std::move(message), "token");
}

// The state after the readings that stand, or a fresh one where nobody can tell.
DetectorState detector_after(const SessionSupervision& kept, const DetectorSettings* settings) {
  if (settings == nullptr) return {};
  DetectorState state = kept.before;
  for (const SegmentReading& reading : kept.timeline) {
    if (reading.measured && reading_stayed(reading, kept.rollbacks))
      detector_step(*settings, state, reading.score);
  }
  return state;
}

SessionTurn cut_turn(SessionTurn turn, std::uint64_t token, const DetectorSettings* settings) {
  if (token >= turn.answer.size()) return turn;
  turn.answer.resize(token);
  turn.ended = false;
  std::erase_if(turn.responses,
                [&](const SessionResponse& response) { return response.first_token >= token; });
  if (turn.responses.empty() || turn.responses.back().end_token <= token) return turn;
  SessionResponse& last = turn.responses.back();
  last.end_token = token;
  last.cut = true;
  if (last.supervision) {
    std::erase_if(last.supervision->timeline, [&](const SegmentReading& reading) {
      return last.first_token + reading.end_token > token;
    });
    last.supervision->after = detector_after(*last.supervision, settings);
  }
  return turn;
}

std::size_t bytes_of(const SessionTurn& turn) {
  std::size_t bytes = sizeof turn + turn.answer.size() * sizeof(TokenId);
  for (const ChatMessage& message : turn.messages)
    bytes += sizeof message + message.role.size() + message.content.size();
  for (const TokenSpan& span : turn.before_answer)
    bytes += sizeof span + span.tokens.size() * sizeof(TokenId);
  for (const SessionResponse& response : turn.responses) {
    bytes += sizeof response + response.id.size() + response.receipt.size() +
             response.override_digest.size() + response.anchor.size();
    if (!response.supervision) continue;
    bytes += response.supervision->timeline.size() * sizeof(SegmentReading) +
             response.supervision->rollbacks.size() * sizeof(RollbackRecord);
  }
  return bytes;
}

bool valid_name(const std::string& name) {
  return !name.empty() && name.size() <= kMaxCheckpointName &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '_' || c == '-';
         });
}

}  // namespace

SessionPlace Session::end() const {
  return turns.empty() ? SessionPlace{} : SessionPlace{turns.size(), turns.back()->answer.size()};
}

Result<SessionPlace> resolve_place(const Session& session, const SessionTarget& target) {
  if (!target.checkpoint.empty()) {
    const auto found = session.checkpoints.find(target.checkpoint);
    if (found != session.checkpoints.end()) return found->second;
    return fail(ErrorKind::kNotFound, "session_checkpoint_missing",
                "the session has no checkpoint of that name", "checkpoint");
  }
  const std::uint64_t number = target.turn.value_or(session.turns.size());
  if (number > session.turns.size()) {
    return fail(ErrorKind::kInvalid, "session_place_invalid",
                "the session has " + std::to_string(session.turns.size()) +
                    " turns, so there is no turn " + std::to_string(number),
                "turn");
  }
  const std::uint64_t size = number == 0 ? 0 : session.turns[number - 1]->answer.size();
  const std::uint64_t at = target.token.value_or(size);
  if (at > size) {
    return no_place("the answer of turn " + std::to_string(number) + " has " +
                    std::to_string(size) + " tokens, so there is no token " + std::to_string(at));
  }
  if (at != size && at % kCheckpointTokens != 0) {
    return no_place("an answer is cut at multiples of " + std::to_string(kCheckpointTokens) +
                    " tokens, not at " + std::to_string(at));
  }
  return SessionPlace{number, at};
}

Session cut_session(Session session, SessionPlace place, const DetectorSettings* settings) {
  FP_CHECK(place.turn <= session.turns.size());
  session.turns.resize(place.turn);
  if (place.turn > 0) {
    auto& last = session.turns.back();
    if (place.token < last->answer.size())
      last = std::make_shared<const SessionTurn>(cut_turn(*last, place.token, settings));
  }
  std::erase_if(session.checkpoints, [&](const auto& checkpoint) {
    const SessionPlace& at = checkpoint.second;
    return at.turn > place.turn || (at.turn == place.turn && at.token > place.token);
  });
  return session;
}

Session extend_session(Session session, SessionTurn turn) {
  if (!turn.messages.empty()) {
    session.turns.push_back(std::make_shared<const SessionTurn>(std::move(turn)));
    return session;
  }
  FP_CHECK(!session.turns.empty());
  SessionTurn last = *session.turns.back();
  const std::uint64_t before = last.answer.size();
  last.answer.insert(last.answer.end(), turn.answer.begin(), turn.answer.end());
  last.ended = turn.ended;
  for (SessionResponse& response : turn.responses) {
    response.first_token += before;
    response.end_token += before;
    last.responses.push_back(std::move(response));
  }
  session.turns.back() = std::make_shared<const SessionTurn>(std::move(last));
  return session;
}

Result<Session> mark_session(Session session, const std::string& name, SessionPlace place) {
  if (!valid_name(name)) {
    return fail(ErrorKind::kInvalid, "session_checkpoint_invalid",
                "a checkpoint's name has 1 to " + std::to_string(kMaxCheckpointName) +
                    " characters of A-Za-z0-9._-",
                "name");
  }
  if (!session.checkpoints.contains(name) && session.checkpoints.size() >= kMaxSessionCheckpoints) {
    return fail(ErrorKind::kInvalid, "session_checkpoint_invalid",
                "a session has at most " + std::to_string(kMaxSessionCheckpoints) +
                    " checkpoints; use a name again",
                "name");
  }
  session.checkpoints[name] = place;
  return session;
}

void append_spans(std::vector<TokenSpan>& to, std::span<const TokenSpan> spans) {
  for (const TokenSpan& span : spans) {
    if (span.tokens.empty()) continue;
    if (to.empty() || to.back().cls != span.cls) to.push_back({{}, span.cls});
    auto& tokens = to.back().tokens;
    tokens.insert(tokens.end(), span.tokens.begin(), span.tokens.end());
  }
}

std::vector<TokenSpan> session_context(const Session& session) {
  std::vector<TokenSpan> spans;
  for (const auto& turn : session.turns) {
    append_spans(spans, turn->before_answer);
    TokenSpan answer{turn->answer, KvClass::kOutput};
    if (turn->ended) answer.tokens.pop_back();
    append_spans(spans, {&answer, 1});
  }
  return spans;
}

DetectorState session_detector(const Session& session, const std::string& anchor) {
  for (auto turn = session.turns.rbegin(); turn != session.turns.rend(); ++turn) {
    const auto& responses = (*turn)->responses;
    for (auto response = responses.rbegin(); response != responses.rend(); ++response) {
      if (!response->supervision) continue;
      const SessionSupervision& last = *response->supervision;
      return last.detector_anchor == anchor ? last.after : DetectorState{};
    }
  }
  return {};
}

std::vector<std::vector<double>> session_angles(const Session& session) {
  std::vector<std::vector<double>> responses;
  for (const auto& turn : session.turns) {
    for (const SessionResponse& response : turn->responses) {
      if (!response.supervision) continue;
      const SessionSupervision& kept = *response.supervision;
      std::vector<double> angles;
      for (const SegmentReading& reading : kept.timeline) {
        const bool an_angle = reading.angle > 0 && reading.angle <= std::numbers::pi;
        if (reading.measured && an_angle && reading_stayed(reading, kept.rollbacks))
          angles.push_back(reading.angle);
      }
      if (!angles.empty()) responses.push_back(std::move(angles));
    }
  }
  return responses;
}

std::size_t session_bytes(const Session& session) {
  std::size_t bytes = sizeof session + session.undos.size() * sizeof(SessionUndo);
  for (const auto& turn : session.turns) bytes += bytes_of(*turn);
  return bytes + session.checkpoints.size() * (sizeof(SessionPlace) + kMaxCheckpointName);
}

}  // namespace fieldprint
