#include "http/fake_engine.h"

#include <algorithm>
#include <array>
#include <deque>

#include "http/fake_supervision.h"

namespace fieldprint::testing_http {
namespace {

constexpr std::array kWords = {"alpha ", "bravo ", "charlie ", "delta ", "echo ", "foxtrot ",
                               "golf ",  "hotel ", "india ",   "julia ", "kilo ", "lima "};

std::uint64_t mix(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

// The answer as pieces, one "token" each.
std::vector<std::string> answer(const FakeEngine::Behaviour& behaviour,
                                const GenerationRequest& request, std::uint64_t seed) {
  std::vector<std::string> pieces;
  if (!behaviour.text.empty()) return {behaviour.text};
  const bool greedy = request.sampling.temperature == 0.0F;
  const std::int32_t natural = request.ignore_eos ? 1 << 20 : behaviour.words;
  const std::int32_t count =
      request.max_tokens < 0 ? behaviour.words : std::min(natural, request.max_tokens);
  for (std::int32_t i = 0; i < count; ++i) {
    const std::uint64_t key = mix((greedy ? 0 : seed) * 1000003 + static_cast<std::uint64_t>(i));
    pieces.emplace_back(kWords[key % kWords.size()]);
  }
  return pieces;
}

// Cuts at the earliest stop string; true if one was found.
bool cut_at_stop(std::vector<std::string>& pieces, const std::vector<std::string>& stops) {
  std::string text;
  for (const std::string& piece : pieces) text += piece;
  std::size_t at = std::string::npos;
  for (const std::string& stop : stops) at = std::min(at, text.find(stop));
  if (at == std::string::npos) return false;
  std::vector<std::string> kept;
  for (const std::string& piece : pieces) {
    if (at == 0) break;
    kept.push_back(piece.substr(0, at));
    at -= kept.back().size();
  }
  pieces = std::move(kept);
  return true;
}

TokenLogprob logprob_of(const std::string& piece, std::int32_t top) {
  TokenLogprob out{static_cast<TokenId>(static_cast<unsigned char>(piece[0])), piece, -0.25F, {}};
  for (std::int32_t i = 0; i < top; ++i) {
    const std::string other = i == 0 ? piece : kWords[static_cast<std::size_t>(i) % kWords.size()];
    out.top.push_back({{static_cast<TokenId>(i), other}, -0.25F - static_cast<float>(i)});
  }
  return out;
}

}  // namespace

class FakeGeneration final : public Generation {
 public:
  FakeGeneration(FakeEngine& engine, FakeEngine::Behaviour behaviour,
                 const GenerationRequest& request)
      : engine_(engine), behaviour_(std::move(behaviour)), releases_seen_(engine.releases_) {
    ++engine_.running_;
    UsageReport usage;
    for (const TokenSpan& span : request.prompt) {
      usage.prompt_tokens += static_cast<std::int32_t>(span.tokens.size());
    }
    for (std::int32_t choice = 0; choice < request.choices; ++choice) {
      plan_choice(request, choice, usage);
    }
    usage.anchor_tokens = request.use_anchor ? 12 : 0;
    usage.anchors = {request.use_anchor ? engine_.anchor_ : std::string()};
    usage.mass[static_cast<int>(KvClass::kSink)] = 0.25F;
    usage.mass[static_cast<int>(KvClass::kAnchor)] = request.use_anchor ? 0.25F : 0.0F;
    usage.mass[static_cast<int>(KvClass::kUser)] = request.use_anchor ? 0.5F : 0.75F;
    events_.push_back(DoneEvent{usage});
  }

  ~FakeGeneration() override {
    if (!ended_) ++engine_.cancelled_;
    --engine_.running_;
    const std::lock_guard lock(engine_.mutex_);
    engine_.changed_.notify_all();
  }

  std::optional<GenerationEvent> next(std::chrono::milliseconds timeout) override {
    std::unique_lock lock(engine_.mutex_);
    if (behaviour_.stall_after >= 0 && sent_ == behaviour_.stall_after && !engine_.cut_) {
      const bool go = engine_.changed_.wait_for(
          lock, timeout, [this] { return engine_.releases_ > releases_seen_ || engine_.cut_; });
      if (!go) return std::nullopt;
      behaviour_.stall_after = -1;
    }
    if (engine_.cut_) return end(FailedEvent{{ErrorKind::kCancelled, "draining", "cut off", ""}});
    if (behaviour_.fail_after >= 0 && sent_ == behaviour_.fail_after) {
      return end(FailedEvent{*behaviour_.failure});
    }
    if (behaviour_.pace.count() > 0 && std::holds_alternative<DeltaEvent>(events_.front())) {
      if (engine_.changed_.wait_for(lock, behaviour_.pace, [this] { return engine_.cut_; })) {
        return std::nullopt;
      }
    }
    GenerationEvent event = std::move(events_.front());
    events_.pop_front();
    if (std::holds_alternative<DeltaEvent>(event)) {
      ++sent_;
      ++engine_.generated_;
    }
    if (std::holds_alternative<DoneEvent>(event)) ended_ = true;
    return event;
  }

  void cancel() override {}

 private:
  void plan_choice(const GenerationRequest& request, std::int32_t choice, UsageReport& usage) {
    const std::uint64_t seed = *request.sampling.seed + static_cast<std::uint64_t>(choice);
    std::vector<std::string> pieces = answer(behaviour_, request, seed);
    const bool full =
        request.max_tokens >= 0 && static_cast<std::int32_t>(pieces.size()) >= request.max_tokens;
    const bool stopped = cut_at_stop(pieces, request.stop);
    FakeCourse course;
    course.gap = behaviour_.gap;
    std::size_t sent = 0;
    if (request.supervision && request.supervision->release != ReleaseMode::kOff) {
      sent = plan_breaches(request, choice, pieces, course, usage);
    }
    for (; sent < pieces.size(); ++sent) push_delta(request, choice, pieces[sent]);
    usage.completion_tokens += static_cast<std::int32_t>(pieces.size());
    for (const std::string& piece : pieces) {
      course.tokens.push_back(piece.empty() ? 0 : static_cast<unsigned char>(piece[0]));
    }
    if (behaviour_.says_end) course.tokens.push_back(257);
    ChoiceDoneEvent done{choice, full && !stopped ? FinishReason::kLength : FinishReason::kStop,
                         seed, course.tokens};
    if (behaviour_.filtered && !course.rollbacks.empty())
      done.reason = FinishReason::kContentFilter;
    if (request.supervision) {
      const FakePlace place{request.id, static_cast<std::size_t>(choice), engine_.model_,
                            request.use_anchor ? engine_.anchor_ : std::string()};
      done.supervision = fake_report(*request.supervision, place, course);
    }
    events_.push_back(std::move(done));
  }

  // Words that do not stay. Optimistic release sends them and takes them back. Returns how many
  // words of the answer are sent already; a filtered answer ends with them.
  std::size_t plan_breaches(const GenerationRequest& request, std::int32_t choice,
                            std::vector<std::string>& pieces, FakeCourse& course,
                            UsageReport& usage) {
    if (behaviour_.breaches == 0) return 0;
    const bool shown = request.supervision->release == ReleaseMode::kOptimistic;
    const std::size_t keep = std::min(behaviour_.keep, pieces.size());
    RollbackEvent event;
    event.choice = choice;
    for (std::size_t i = 0; i < keep; ++i) {
      push_delta(request, choice, pieces[i]);
      event.text_bytes += pieces[i].size();
    }
    event.text_characters = event.text_bytes;  // the words are ASCII
    event.logprobs = keep;
    for (std::int32_t i = 0; i < behaviour_.breaches; ++i) {
      const bool last = i + 1 == behaviour_.breaches;
      event.record = {keep + 2,
                      keep,
                      shown ? 2U : 0U,
                      RollbackChange::kReseed,
                      BreachCause::kLimit,
                      1.5 + i,
                      KvClass::kReserved,
                      {0.25F, 0.5F, 0, 0.25F}};
      if (last && behaviour_.filtered) event.record.change = RollbackChange::kStop;
      course.rollbacks.push_back(event.record);
      usage.dropped_tokens += 2;
      if (!shown) continue;
      push_delta(request, choice, "WRONG ");
      push_delta(request, choice, "wörds ");
      events_.push_back(event);
    }
    if (behaviour_.filtered) pieces.resize(keep);
    return keep;
  }

  void push_delta(const GenerationRequest& request, std::int32_t choice, const std::string& piece) {
    DeltaEvent delta{choice, piece, {}};
    if (request.sampling.logprobs >= 0) {
      delta.logprobs.push_back(logprob_of(piece, request.sampling.logprobs));
    }
    events_.push_back(std::move(delta));
  }

  std::optional<GenerationEvent> end(FailedEvent event) {
    ended_ = true;
    return event;
  }

  FakeEngine& engine_;
  FakeEngine::Behaviour behaviour_;
  std::uint64_t releases_seen_;
  std::deque<GenerationEvent> events_;
  int sent_ = 0;
  bool ended_ = false;
};

std::vector<TokenId> FakeText::encode(std::string_view text, bool /*parse_special*/) const {
  std::vector<TokenId> tokens;
  for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
  return tokens;
}

std::string FakeText::decode(std::span<const TokenId> tokens, bool render_special) const {
  std::string text;
  for (const TokenId token : tokens) {
    if (token < 256) {
      text += static_cast<char>(token);
    } else if (render_special) {
      text += "<" + std::to_string(token) + ">";
    }
  }
  return text;
}

Result<std::vector<TokenSpan>> FakeText::render(std::span<const ChatMessage> messages,
                                                const ChatRender& options) const {
  if (!has_template_) {
    return fail(ErrorKind::kUnsupported, "chat_template_missing", "no template; use completions");
  }
  std::vector<TokenSpan> spans;
  if (options.add_bos) spans.push_back({{bos()}, KvClass::kSystem});
  for (const ChatMessage& message : messages) {
    TokenSpan span{{258}, KvClass::kUser};
    if (message.role == "system" || message.role == "developer") span.cls = KvClass::kSystem;
    if (message.role == "assistant") span = {{259}, KvClass::kOutput};
    if (message.role == "tool") span.cls = KvClass::kTool;
    for (const TokenId token : encode(message.content, false)) span.tokens.push_back(token);
    if (message.role == "assistant") span.tokens.push_back(257);
    spans.push_back(std::move(span));
  }
  if (options.add_generation_prompt) spans.push_back({{259}, KvClass::kOutput});
  return spans;
}

FakeEngine::FakeEngine() {
  options_.context_length = 512;
  config_.architecture = "fake";
  config_.vocab = 300;
}

void FakeEngine::set(Behaviour behaviour) {
  const std::lock_guard lock(mutex_);
  behaviour_ = std::move(behaviour);
}

void FakeEngine::set_anchor(std::string digest) {
  const std::lock_guard lock(mutex_);
  anchor_ = std::move(digest);
}

void FakeEngine::set_supervision(SupervisionInfo info, std::string model_digest) {
  const std::lock_guard lock(mutex_);
  supervision_ = info;
  model_ = std::move(model_digest);
}

SupervisionInfo FakeEngine::supervision() const {
  const std::lock_guard lock(mutex_);
  return supervision_;
}

void FakeEngine::release() {
  const std::lock_guard lock(mutex_);
  ++releases_;
  changed_.notify_all();
}

Result<std::unique_ptr<Generation>> FakeEngine::submit(GenerationRequest request) {
  FP_TRY(validate(request, config_.vocab));
  const std::lock_guard lock(mutex_);
  if (draining_) return fail(ErrorKind::kUnavailable, "draining", "the engine is draining");
  if (behaviour_.failure && behaviour_.fail_after < 0) return tl::unexpected(*behaviour_.failure);
  std::size_t length = 0;
  for (const TokenSpan& span : request.prompt) length += span.tokens.size();
  if (length >= static_cast<std::size_t>(options_.context_length)) {
    return fail(ErrorKind::kInvalid, "context_length_exceeded",
                "the prompt has " + std::to_string(length) + " tokens; the context holds 512");
  }
  ++submitted_;
  last_ = request;
  return std::make_unique<FakeGeneration>(*this, behaviour_, request);
}

Result<RevocationOutcome> FakeEngine::revoke(const RevokeAnchor& command) {
  const std::lock_guard lock(mutex_);
  revoked_.push_back(command.digest);
  RevocationOutcome outcome;
  outcome.was_in_front = command.digest == anchor_;
  if (!outcome.was_in_front) return outcome;
  last_revocation_ = command;
  outcome.ended = running_;
  anchor_.clear();
  if (command.replacement.artifact) anchor_ = command.replacement.artifact->digest;
  outcome.replacement = anchor_;
  return outcome;
}

AnchorState FakeEngine::anchor_state() const {
  const std::lock_guard lock(mutex_);
  return {anchor_, anchor_.empty() && !revoked_.empty(), revoked_};
}

RevokeAnchor FakeEngine::last_revocation() const {
  const std::lock_guard lock(mutex_);
  return last_revocation_;
}

std::vector<std::string> FakeEngine::revoked() const {
  const std::lock_guard lock(mutex_);
  return revoked_;
}

EngineStats FakeEngine::stats() const {
  EngineStats stats;
  stats.running = running_;
  stats.pages_total = 100;
  stats.pages_used = 25;
  stats.generated_tokens = generated_;
  return stats;
}

bool FakeEngine::drain(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  draining_ = true;
  const bool finished = changed_.wait_for(lock, timeout, [this] { return running_ == 0; });
  cut_ = !finished;
  changed_.notify_all();
  return finished;
}

GenerationRequest FakeEngine::last_request() const {
  const std::lock_guard lock(mutex_);
  return last_;
}

}  // namespace fieldprint::testing_http
