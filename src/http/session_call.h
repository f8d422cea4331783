// A chat request's part in a session: the prompt that the conversation so far makes of its
// messages, and what of the answer is kept.
//
// Between begin() and commit() the session is busy; a call that is destroyed without commit()
// leaves it as it was. Thread rule: one thread, the connection's.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "api/request.h"
#include "api/response.h"
#include "engine/session_store.h"
#include "http/state.h"

namespace fieldprint {

inline constexpr std::string_view kSessionPrefix = "fps-";

class SessionCall {
 public:
  // Null: the request names no session, or only the scope of its override. Errors:
  // session_not_found, session_busy, session_too_large, sessions_full, sessions_off, those of
  // prompt_with(),
  // session_answer_ended (no messages, and no answer that could go on), missing_field,
  // invalid_value (n).
  static Result<std::unique_ptr<SessionCall>> begin(ServerState& state, const std::string& owner,
                                                    const ChatRequest& request);
  ~SessionCall();
  SessionCall(const SessionCall&) = delete;
  SessionCall& operator=(const SessionCall&) = delete;

  const std::string& id() const { return session_->id; }
  // The conversation with the request's messages after it; without any the last answer is left
  // open. render.add_generation_prompt is not read.
  std::vector<TokenSpan> prompt(const ChatRender& render) const;
  // The same with these messages in their place. Errors: those of TextService::render(),
  // session_template_unsupported.
  Result<std::vector<TokenSpan>> prompt_with(std::span<const ChatMessage> messages,
                                             const ChatRender& render) const;
  // Of a response behind that anchor.
  DetectorState detector(const std::string& anchor) const {
    return session_detector(*session_, anchor);
  }

  void describe(const std::string& response_id, const std::string& override_digest);
  void note(const ChoiceDoneEvent& event);
  // Keeps the answer. Once, after the choice is done.
  SessionInfo commit(const UsageReport& usage, const std::string& receipt_id);

 private:
  SessionCall(ServerState& state, std::shared_ptr<const Session> session,
              std::vector<ChatMessage> messages);

  // What the template puts between the last answer and the next one. Errors: as prompt_with().
  Result<std::vector<TokenSpan>> before_answer(std::span<const ChatMessage> messages) const;
  std::vector<TokenSpan> context_with(std::span<const TokenSpan> before_answer,
                                      const ChatRender& render) const;

  ServerState& state_;
  std::shared_ptr<const Session> session_;
  bool committed_ = false;
  SessionTurn turn_;          // the new one, as far as it is known
  SessionResponse response_;  // likewise
};

}  // namespace fieldprint
