// A conversation that the server keeps: what was said, which tokens were sampled, what supervision
// measured; and the places in it that a person can go back to or branch from.
//
// A session is a list of turns: new messages, then an answer. An answer is made by one response,
// or by several when it was cut and continued. Places are (turn, token): turns 1..turn stay, of
// the last one's answer the first `token` tokens; turn 0 is the beginning, before any message.
// Tokens of an answer are cut at multiples of kCheckpointTokens, or not at all.
//
// No KV pages are held: the pages of generated tokens are in the engine's prefix index, under the
// tokens they were computed from, so going back finds them there while they last.
//
// Sessions are immutable values that share their turns: a fork copies pointers. Thread rule: pure
// functions, nothing here locks.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "engine/request.h"
#include "model/chat_template.h"
#include "supervisor/detector.h"
#include "supervisor/report.h"

namespace fieldprint {

inline constexpr std::size_t kMaxSessionCheckpoints = 64;
inline constexpr std::size_t kMaxCheckpointName = 64;  // of A-Za-z0-9._-
inline constexpr std::size_t kMaxSessionUndos = 64;    // kept in the record, oldest dropped

// What supervision said about one response of a session.
struct SessionSupervision {
  ReleaseMode release = ReleaseMode::kOff;
  SupervisionState state = SupervisionState::kIncomplete;
  Digest256 chain_head{};
  std::uint64_t gaps = 0;
  std::uint64_t unlogged = 0;
  std::vector<SegmentReading> timeline;  // tokens counted from the response's first
  std::vector<RollbackRecord> rollbacks;
  std::string detector_anchor;  // digest of the anchor that before and after belong to
  DetectorState before;         // what the response began with
  DetectorState after;
};

// One response, as far as its tokens are still there.
struct SessionResponse {
  std::string id;                 // "chatcmpl-..."
  std::string receipt;            // empty: none
  std::string override_digest;    // empty: none
  std::string anchor;             // digest of what stood in front at its end; empty: nothing
  std::uint64_t first_token = 0;  // place in the answer
  std::uint64_t end_token = 0;
  bool cut = false;  // it had more tokens
  FinishReason reason = FinishReason::kStop;
  std::uint64_t seed = 0;
  std::array<float, kKvClasses> mass{};  // mean over all it generated
  std::optional<SessionSupervision> supervision;
};

struct SessionTurn {
  std::vector<ChatMessage> messages;
  // What stands between the end of the answer before and the beginning of this one: the template's
  // text and the messages, without a start-of-text token.
  std::vector<TokenSpan> before_answer;
  std::vector<TokenId> answer;  // as sampled; an end-of-generation token is its last
  bool ended = false;           // with such a token
  std::vector<SessionResponse> responses;
};

struct SessionPlace {
  std::uint64_t turn = 0;
  std::uint64_t token = 0;
  bool operator==(const SessionPlace&) const = default;
};

struct SessionUndo {
  SessionPlace from;
  SessionPlace to;
  std::int64_t time = 0;  // Unix seconds
};

struct Session {
  std::string id;
  std::string owner;  // the tenant; nobody else finds it
  std::int64_t created = 0;
  std::int64_t used = 0;  // Unix seconds
  std::string parent;     // fork: the session it came from
  SessionPlace parent_place;
  std::vector<std::shared_ptr<const SessionTurn>> turns;
  std::map<std::string, SessionPlace> checkpoints;
  std::vector<SessionUndo> undos;

  SessionPlace end() const;
};

// A place as a client names it: by a checkpoint, or by turn (absent: the last one) and token
// (absent: the end of its answer).
struct SessionTarget {
  std::string checkpoint;  // empty: none
  std::optional<std::uint64_t> turn;
  std::optional<std::uint64_t> token;
};
// Errors: session_place_invalid (no such turn, beyond the answer, not at a block's edge),
// session_checkpoint_missing.
Result<SessionPlace> resolve_place(const Session& session, const SessionTarget& target);

// Takes away what comes after `place`, which resolve_place() gave, and checkpoints there. settings:
// of the detector, to find its state in the middle of a response; null: it starts afresh.
Session cut_session(Session session, SessionPlace place, const DetectorSettings* settings);

// The session after a response. A turn of its own if `turn` brings messages, else more of the last
// answer: then turn has no messages, and tokens and places count from the answer's end.
Session extend_session(Session session, SessionTurn turn);

// Errors: session_checkpoint_invalid (name, or too many).
Result<Session> mark_session(Session session, const std::string& name, SessionPlace place);

// All that a response continues: spans of equal class joined. without_end: a last answer that ended
// is there without its end-of-generation token, since the template closes it.
std::vector<TokenSpan> session_context(const Session& session);
// Appends spans, joining those of equal class.
void append_spans(std::vector<TokenSpan>& to, std::span<const TokenSpan> spans);

// The detector's state for the next response behind this anchor: fresh if the last supervised one
// stood behind another.
DetectorState session_detector(const Session& session, const std::string& anchor);

// Angles of the measured segments that stand, in order, by response: each began with a fresh pooled
// state. A state without a direction has no angle and is left out.
std::vector<std::vector<double>> session_angles(const Session& session);

// Memory it accounts for, turns that it shares with others included.
std::size_t session_bytes(const Session& session);

}  // namespace fieldprint
