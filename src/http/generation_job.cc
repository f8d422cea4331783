#include "http/generation_job.h"

#include <utility>

#include "core/check.h"
#include "core/log.h"
#include "http/pacemaker_feed.h"
#include "http/sse.h"

namespace fieldprint {
namespace {

double seconds_since(GenerationJob::Clock::time_point start) {
  return std::chrono::duration<double>(GenerationJob::Clock::now() - start).count();
}

std::size_t index_of(std::int32_t choice, std::size_t count) {
  const auto index = static_cast<std::size_t>(choice);
  FP_CHECK(index < count);
  return index;
}

}  // namespace

GenerationJob::GenerationJob(ServerState& state, Parts parts)
    : state_(state), parts_(std::move(parts)), last_write_(Clock::now()) {
  const auto count = static_cast<std::size_t>(parts_.base.choices);
  choices_.resize(count);
  last_text_.resize(count);
  rollbacks_.resize(count);
  evidence_.override_digest = parts_.override_digest;
  evidence_.profile = state.service.engine->numeric_profile();
  evidence_.seeds.resize(count);
  evidence_.supervision.resize(count);
  evidence_.timeline = parts_.base.timeline;
  evidence_.ignored_fields = parts_.base.ignored_fields;
  evidence_.ignored_count = parts_.base.ignored_count;
  state_.metrics.streams.add(1);
}

GenerationJob::~GenerationJob() {
  if (!finished_) {
    parts_.generation->cancel();
    state_.metrics.cancelled.add();
    log_end("cancelled");
  }
  state_.metrics.streams.add(-1);
}

void GenerationJob::note(const DeltaEvent& event) {
  if (parts_.receipt) parts_.receipt->note(event);
  const std::size_t choice = index_of(event.choice, choices_.size());
  const auto now = Clock::now();
  if (!first_text_seen_) {
    state_.metrics.first_token.observe(seconds_since(parts_.start));
    first_text_seen_ = true;
  }
  if (last_text_[choice] != Clock::time_point{}) {
    state_.metrics.between_tokens.observe(
        std::chrono::duration<double>(now - last_text_[choice]).count());
  }
  last_text_[choice] = now;
}

void GenerationJob::note(const RollbackEvent& event) {
  if (parts_.receipt) parts_.receipt->note(event);
}

void GenerationJob::note(const ChoiceDoneEvent& event) {
  if (parts_.receipt) parts_.receipt->note(event);
  if (parts_.session) parts_.session->note(event);
  const std::size_t choice = index_of(event.choice, choices_.size());
  evidence_.seeds[choice] = event.seed;
  evidence_.supervision[choice] = event.supervision;
  if (!event.supervision) return;
  for (const SegmentReading& reading : event.supervision->timeline) {
    if (reading.measured) state_.metrics.angle.observe(reading.angle);
  }
}

void GenerationJob::note(const DoneEvent& event) {
  evidence_.usage = event.usage;
  evidence_.anchor = anchor_in_front(event.usage);
  if (parts_.receipt) evidence_.receipt = parts_.receipt->issue(state_, event.usage);
  keep_for_later();
  finished_ = true;
  state_.metrics.request.observe(seconds_since(parts_.start));
  log_end("done");
}

// The turn in its session, the verified states in the pacemaker.
void GenerationJob::keep_for_later() {
  if (parts_.session) {
    evidence_.session = parts_.session->commit(evidence_.usage, receipt_id());
  }
  const std::string agent = parts_.base.user.empty() ? session_id() : parts_.base.user;
  for (const auto& report : evidence_.supervision) {
    if (report) keep_verified_states(state_, parts_.tenant, agent, *report);
  }
}

// What stood in front when the answer ended: a revocation may have changed it meanwhile.
std::optional<AnchorInfo> GenerationJob::anchor_in_front(const UsageReport& usage) const {
  const std::string digest = usage.anchors.empty() ? std::string() : usage.anchors.back();
  if (digest.empty()) return std::nullopt;
  const std::optional<AnchorInfo>& first = state_.service.anchor;
  if (first && first->digest == digest) return first;
  const auto standing = standing_of(state_.service, digest);
  if (!standing) return std::nullopt;
  return anchor_info(*standing);
}

void GenerationJob::note(const FailedEvent& event) {
  error_ = event.error;
  finished_ = true;
  log_end(event.error.code.c_str());
}

void GenerationJob::log_end(const char* outcome) {
  const LogRequestScope scope(parts_.request_id);
  const UsageReport& usage = evidence_.usage;
  log_info("generation", {{"outcome", std::string(outcome)},
                          {"prompt_tokens", std::int64_t{usage.prompt_tokens}},
                          {"cached_tokens", std::int64_t{usage.cached_tokens}},
                          {"completion_tokens", std::int64_t{usage.completion_tokens}},
                          {"seconds", seconds_since(parts_.start)}});
}

void GenerationJob::gather(DeltaEvent event) {
  note(event);
  ChoiceResult& choice = choices_[index_of(event.choice, choices_.size())];
  choice.text += event.text;
  for (TokenLogprob& token : event.logprobs) choice.logprobs.push_back(std::move(token));
}

void GenerationJob::gather(const RollbackEvent& event) {
  note(event);
  ChoiceResult& choice = choices_[index_of(event.choice, choices_.size())];
  FP_CHECK(event.text_bytes <= choice.text.size());
  choice.text.resize(event.text_bytes);
  if (event.logprobs < choice.logprobs.size()) choice.logprobs.resize(event.logprobs);
}

void GenerationJob::gather(const ChoiceDoneEvent& event) {
  note(event);
  choices_[index_of(event.choice, choices_.size())].reason = event.reason;
}

Result<std::string> GenerationJob::whole() {
  if (error_) return tl::unexpected(*error_);
  return parts_.printer->whole(choices_, evidence_);
}

tl::unexpected<Error> GenerationJob::deadline_error() {
  return fail(ErrorKind::kCancelled, "deadline_exceeded",
              "the response took longer than the server's request deadline; stream it, or ask "
              "for fewer tokens");
}

// Sends the held finish chunk of a choice.
void GenerationJob::flush_finish(std::string& out, const Evidence* evidence) {
  if (!pending_finish_) return;
  append_event(out, parts_.printer->finish(*pending_finish_, evidence));
  pending_finish_.reset();
}

void GenerationJob::frame(const DeltaEvent& event, std::string& out) {
  note(event);
  flush_finish(out, nullptr);
  append_event(out, parts_.printer->delta(event));
}

void GenerationJob::frame(const RollbackEvent& event, std::string& out) {
  note(event);
  // Text is taken back only under optimistic release, which a stream gets by asking for it.
  FP_CHECK(parts_.release == ReleaseMode::kOptimistic);
  flush_finish(out, nullptr);
  const std::uint32_t ordinal = ++rollbacks_[index_of(event.choice, rollbacks_.size())];
  append_named_event(out, "fieldprint.rollback", parts_.printer->rollback(event, ordinal));
}

void GenerationJob::frame(const ChoiceDoneEvent& event, std::string& out) {
  note(event);
  flush_finish(out, nullptr);
  pending_finish_ = event;
}

void GenerationJob::frame(const DoneEvent& event, std::string& out) {
  note(event);
  flush_finish(out, &evidence_);
  if (parts_.base.stream_usage == StreamUsage::kOn) {
    append_event(out, parts_.printer->usage(event.usage));
  }
  out += kSseDone;
}

void GenerationJob::frame(const FailedEvent& event, std::string& out) {
  note(event);
  flush_finish(out, nullptr);
  // The status line said 200 long ago, so the error is an event of its own.
  append_event(out, print_error(event.error));
  out += kSseDone;
}

std::string GenerationJob::frames() {
  std::string out;
  if (!opened_) {
    opened_ = true;
    for (std::int32_t choice = 0; choice < parts_.base.choices; ++choice) {
      if (const auto chunk = parts_.printer->opening(choice)) append_event(out, *chunk);
    }
  }
  // Wait only when there is nothing to say yet; then take what is there already.
  auto wait =
      out.empty() ? std::min(kSlice, state_.options.ping_interval) : std::chrono::milliseconds(0);
  constexpr std::size_t kBatchBytes = 16384;
  while (!finished_ && out.size() < kBatchBytes) {
    auto event = parts_.generation->next(wait);
    if (!event) break;
    std::visit([&](const auto& each) { frame(each, out); }, *event);
    wait = std::chrono::milliseconds(0);
  }
  const auto now = Clock::now();
  if (out.empty() && now - last_write_ >= state_.options.ping_interval) out = kSsePing;
  if (!out.empty()) last_write_ = now;
  return out;
}

}  // namespace fieldprint
