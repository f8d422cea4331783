#include "http/session_call.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "http/ids.h"

namespace fieldprint {
namespace {

constexpr const char* kParam = "fieldprint.session";

tl::unexpected<Error> with_param(Error error) {
  error.param = kParam;
  return tl::unexpected(std::move(error));
}

// Answers are left out: their tokens are known, and the template's own text does not depend on
// them.
std::vector<ChatMessage> without_answers(const Session& session) {
  std::vector<ChatMessage> messages;
  for (const auto& turn : session.turns) {
    messages.insert(messages.end(), turn->messages.begin(), turn->messages.end());
    messages.push_back({"assistant", ""});
  }
  return messages;
}

// The spans after the first `count` tokens, if those are `begin`.
std::optional<std::vector<TokenSpan>> after(std::span<const TokenSpan> spans,
                                            std::span<const TokenId> begin) {
  std::vector<TokenSpan> rest;
  for (const TokenSpan& span : spans) {
    const std::size_t shared = std::min(span.tokens.size(), begin.size());
    if (!std::equal(begin.begin(), begin.begin() + static_cast<std::ptrdiff_t>(shared),
                    span.tokens.begin()))
      return std::nullopt;
    begin = begin.subspan(shared);
    const TokenSpan left{
        {span.tokens.begin() + static_cast<std::ptrdiff_t>(shared), span.tokens.end()}, span.cls};
    append_spans(rest, {&left, 1});
  }
  if (!begin.empty()) return std::nullopt;
  return rest;
}

SessionSupervision kept_of(const SupervisionReport& report) {
  SessionSupervision kept;
  kept.release = report.release;
  kept.state = report.state;
  kept.chain_head = report.chain_head;
  kept.gaps = report.gaps;
  kept.unlogged = report.unlogged;
  kept.timeline = report.timeline;
  for (SegmentReading& reading : kept.timeline) reading.direction = {};  // the pacemaker has them
  kept.rollbacks = report.rollbacks;
  kept.detector_anchor = digest_string(report.binding.anchor_digest);
  kept.after = report.detector;
  return kept;
}

Status check_messages(const ChatRequest& request, const Session& session, const ApiLimits& limits) {
  if (request.base.choices != 1) {
    return fail(ErrorKind::kInvalid, "invalid_value",
                "a session has one answer to each turn: fork it to try several", "n");
  }
  std::size_t count = request.messages.size();
  for (const auto& turn : session.turns) count += turn->messages.size() + 1;
  if (count > limits.messages) {
    return fail(ErrorKind::kTooLarge, "session_too_large",
                "a conversation has at most " + std::to_string(limits.messages) + " messages",
                kParam);
  }
  if (!request.messages.empty()) return {};
  if (session.turns.empty()) {
    return fail(ErrorKind::kInvalid, "missing_field", "'messages' is missing", "messages");
  }
  if (!session.turns.back()->ended) return {};
  return fail(ErrorKind::kInvalid, "session_answer_ended",
              "the last answer has ended, so there is nothing to go on with: send messages, or go "
              "back into the answer first",
              "messages");
}

}  // namespace

SessionCall::SessionCall(ServerState& state, std::shared_ptr<const Session> session,
                         std::vector<ChatMessage> messages)
    : state_(state), session_(std::move(session)) {
  turn_.messages = std::move(messages);
}

SessionCall::~SessionCall() {
  if (!committed_) state_.sessions.abandon(session_->id);
}

Result<std::unique_ptr<SessionCall>> SessionCall::begin(ServerState& state,
                                                        const std::string& owner,
                                                        const ChatRequest& request) {
  const std::string& name = request.base.session;
  const bool is_new = name == "new";
  const bool is_id = name.starts_with(kSessionPrefix);
  if (name.empty()) return nullptr;
  if (!is_new && !is_id && !request.base.override_envelope.empty()) return nullptr;
  auto session = is_new ? state.sessions.create(owner, make_id(kSessionPrefix), unix_now())
                        : state.sessions.begin(owner, name, unix_now());
  if (!session) return with_param(session.error());
  std::unique_ptr<SessionCall> call(new SessionCall(state, std::move(*session), request.messages));
  FP_TRY(check_messages(request, *call->session_, state.limits));
  if (!request.messages.empty()) {
    FP_ASSIGN(call->turn_.before_answer, call->before_answer(request.messages));
  }
  return call;
}

Result<std::vector<TokenSpan>> SessionCall::before_answer(
    std::span<const ChatMessage> messages) const {
  std::vector<ChatMessage> all = without_answers(*session_);
  all.insert(all.end(), messages.begin(), messages.end());
  const ChatRender render{.add_generation_prompt = true, .add_bos = false};
  FP_ASSIGN(const auto spans, state_.service.text->render(all, render));
  std::vector<TokenId> before;
  for (const auto& turn : session_->turns) {
    for (const TokenSpan& span : turn->before_answer)
      before.insert(before.end(), span.tokens.begin(), span.tokens.end());
  }
  auto rest = after(spans, before);
  if (rest) return std::move(*rest);
  return fail(ErrorKind::kUnsupported, "session_template_unsupported",
              "this chat template writes earlier turns in another way once later ones follow, so "
              "a session cannot go on from the tokens it has; send whole conversations instead",
              kParam);
}

std::vector<TokenSpan> SessionCall::context_with(std::span<const TokenSpan> before_answer,
                                                 const ChatRender& render) const {
  std::vector<TokenSpan> spans = session_context(*session_);
  append_spans(spans, before_answer);
  const TextService& text = *state_.service.text;
  if (render.add_bos && text.adds_bos() && text.bos() >= 0 && !spans.empty()) {
    auto& first = spans.front().tokens;
    first.insert(first.begin(), text.bos());
  }
  return spans;
}

std::vector<TokenSpan> SessionCall::prompt(const ChatRender& render) const {
  return context_with(turn_.before_answer, render);
}

Result<std::vector<TokenSpan>> SessionCall::prompt_with(std::span<const ChatMessage> messages,
                                                        const ChatRender& render) const {
  FP_ASSIGN(const auto more, before_answer(messages));
  return context_with(more, render);
}

void SessionCall::describe(const std::string& response_id, const std::string& override_digest) {
  response_.id = response_id;
  response_.override_digest = override_digest;
}

void SessionCall::note(const ChoiceDoneEvent& event) {
  turn_.answer = event.tokens;
  turn_.ended =
      !event.tokens.empty() && state_.service.text->is_end_of_generation(event.tokens.back());
  response_.end_token = event.tokens.size();
  response_.reason = event.reason;
  response_.seed = event.seed;
  if (!event.supervision) return;
  response_.supervision = kept_of(*event.supervision);
  response_.supervision->before = detector(response_.supervision->detector_anchor);
}

SessionInfo SessionCall::commit(const UsageReport& usage, const std::string& receipt_id) {
  FP_CHECK(!committed_);
  response_.receipt = receipt_id;
  if (!usage.anchors.empty()) response_.anchor = usage.anchors.back();
  std::copy(std::begin(usage.mass), std::end(usage.mass), response_.mass.begin());
  turn_.responses.push_back(std::move(response_));
  Session after = extend_session(*session_, std::move(turn_));
  const SessionPlace end = after.end();
  const SessionInfo info{after.id, end.turn, end.token};
  state_.sessions.commit(std::move(after), unix_now());
  committed_ = true;
  return info;
}

}  // namespace fieldprint
