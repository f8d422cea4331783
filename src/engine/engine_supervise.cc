// EngineCore: supervised sequences. States go out, verdicts come in, and a breach takes the
// sequence back to a checkpoint with something changed. Nothing here waits.
#include <algorithm>
#include <utility>

#include "core/check.h"
#include "engine/counter_rng.h"
#include "engine/engine_core.h"

namespace fieldprint {
namespace {

// How soon a full ring is tried again.
constexpr std::chrono::milliseconds kRingRetry{1};

std::uint64_t seed_after(std::uint64_t seed, std::size_t rollbacks) {
  const PhiloxBlock drawn =
      philox4x32({static_cast<std::uint32_t>(rollbacks), 0, 2, 0},
                 {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  return (std::uint64_t{drawn[0]} << 32) | drawn[1];
}

bool is_untrusted(KvClass cls) { return cls == KvClass::kTool || cls == KvClass::kMemory; }

std::vector<KvClass> untrusted_classes(const Sequence& sequence) {
  std::vector<KvClass> classes;
  const auto& gone = sequence.supervised->quarantined;
  for (const TokenSpan& span : sequence.job->request.prompt) {
    if (is_untrusted(span.cls) && !span.tokens.empty() &&
        std::ranges::find(gone, span.cls) == gone.end() &&
        std::ranges::find(classes, span.cls) == classes.end()) {
      classes.push_back(span.cls);
    }
  }
  return classes;
}

// Mean attention mass of the tokens since a checkpoint.
std::array<float, kKvClasses> mass_since(const Sequence& sequence, std::uint64_t to_token) {
  std::array<float, kKvClasses> mean{};
  const auto& from = sequence.supervised->checkpoints[to_token / kCheckpointTokens].mass;
  const double tokens = static_cast<double>(sequence.generated) - static_cast<double>(to_token);
  for (std::size_t c = 0; c < mean.size(); ++c) {
    mean[c] = static_cast<float>((sequence.mass[c] - from[c]) / tokens);
  }
  return mean;
}

// The last checkpoint that is not after `token` and leaves something to generate again.
std::uint64_t checkpoint_before(const Sequence& sequence, std::uint64_t token) {
  const auto last = static_cast<std::uint64_t>(sequence.generated) - 1;
  return std::min(token, last) / kCheckpointTokens * kCheckpointTokens;
}

}  // namespace

Status EngineCore::open_supervision(Sequence& sequence) {
  const Job& job = *sequence.job;
  if (!job.supervision) return {};
  const SupervisionRequest& asked = *job.request.supervision;
  SupervisionStart start;
  start.binding.response_id = chain_id(job.request.id, static_cast<std::size_t>(sequence.choice));
  start.binding.salt = asked.salt;
  start.binding.model_digest = job.model_digest;
  start.binding.recipe_digest = job.supervision->fingerprinter().recipe_digest();
  start.binding.anchor_digest = parse_digest(job.usage.anchors.front()).value_or(Digest256{});
  start.binding.numeric_profile = runner_->numeric_profile();
  start.model = job.supervision;
  start.coherence = job.anchored && job.supervision->coherence() != nullptr;
  start.policy =
      asked.release == ReleaseMode::kStrict ? OverflowPolicy::kStrict : OverflowPolicy::kOptimistic;
  start.detector = asked.detector;
  auto supervised = std::make_unique<Supervised>();
  supervised->model = start.model;
  supervised->release = asked.release;
  supervised->coherence = start.coherence;
  supervised->checkpoints.push_back({sequence.text, {}, {}});
  FP_ASSIGN(supervised->number, supervisor_->open(std::move(start)));
  sequence.supervised = std::move(supervised);
  return {};
}

void EngineCore::keep_checkpoint(Sequence& sequence) {
  if (!sequence.followed()) return;
  if (static_cast<std::uint64_t>(sequence.generated) % kCheckpointTokens != 0) return;
  Supervised& supervised = *sequence.supervised;
  supervised.checkpoints.push_back({sequence.text, supervised.produced, sequence.mass});
}

// Before a step: what workers have said, what could not be delivered, whom nobody answered.
void EngineCore::supervise() {
  if (!supervisor_) return;
  for (const SupervisionVerdict& verdict : supervisor_->take_verdicts()) {
    if (Sequence* sequence = find_supervised(verdict.sequence)) judge(*sequence, verdict);
  }
  const EngineTime now = clock_();
  for (const auto* list : {&waiting_, &running_}) {
    for (const auto& sequence : *list) {
      const Supervised* supervised = sequence->supervised.get();
      if (supervised == nullptr || sequence->done || sequence->job->ended) continue;
      deliver(*sequence);
      const bool late = supervised->ending && supervised->release != ReleaseMode::kStrict &&
                        now - supervised->ending->since >= options_.supervision.end_timeout;
      if (late) complete(*sequence);
    }
  }
  remove_ended();
}

std::optional<EngineTime> EngineCore::supervision_wake(const Sequence& sequence) const {
  const Supervised* supervised = sequence.supervised.get();
  if (supervised == nullptr) return std::nullopt;
  if (supervised->undelivered()) return clock_() + kRingRetry;
  if (!supervised->ending || supervised->release == ReleaseMode::kStrict) return std::nullopt;
  return supervised->ending->since + options_.supervision.end_timeout;
}

Sequence* EngineCore::find_supervised(std::uint64_t number) const {
  for (const auto* list : {&waiting_, &running_}) {
    for (const auto& sequence : *list) {
      if (sequence->followed() && sequence->supervised->number == number && !sequence->done &&
          !sequence->job->ended) {
        return sequence.get();
      }
    }
  }
  return nullptr;
}

void EngineCore::tap(Sequence& sequence, TokenId token, const TapRows& rows) {
  Supervised& supervised = *sequence.supervised;
  FP_CHECK(!supervised.undelivered());
  const auto position = static_cast<std::uint64_t>(sequence.generated) - 1;
  if (supervisor_->push(supervised.number, {position, token, rows.final, rows.layer}) ==
      PushResult::kPause) {
    supervised.state = WaitingState{position,
                                    token,
                                    {rows.final.begin(), rows.final.end()},
                                    {rows.layer.begin(), rows.layer.end()}};
  }
}

void EngineCore::deliver(Sequence& sequence) {
  Supervised& supervised = *sequence.supervised;
  if (supervised.mark) {
    if (supervisor_->push_rollback(supervised.number, *supervised.mark) == PushResult::kPause) {
      return;
    }
    supervised.mark.reset();
  }
  if (supervised.state) {
    const WaitingState& state = *supervised.state;
    if (supervisor_->push(supervised.number, {state.position, state.token, state.final,
                                              state.layer}) == PushResult::kPause) {
      return;
    }
    supervised.state.reset();
  }
  if (supervised.end_unsent && supervisor_->push_end(supervised.number) != PushResult::kPause) {
    supervised.end_unsent = false;
  }
}

void EngineCore::judge(Sequence& sequence, const SupervisionVerdict& verdict) {
  Supervised& supervised = *sequence.supervised;
  // Of tokens that have been taken back since.
  if (verdict.reading.generation != supervised.rollbacks.size()) return;
  if (verdict.kind == SupervisionVerdict::Kind::kEnd) {
    FP_CHECK(supervised.ending && verdict.report);
    supervised.report = verdict.report;
    complete(sequence);
  } else if (supervised.release == ReleaseMode::kOff) {
    return;  // what follows from a reading is the reader's to decide
  } else if (verdict.reading.cause != BreachCause::kNone) {
    breach(sequence, verdict.reading);
  } else {
    release(sequence, verdict.reading.end_token);
  }
}

void EngineCore::breach(Sequence& sequence, const SegmentReading& reading) {
  const Supervised& supervised = *sequence.supervised;
  const Job& job = *sequence.job;
  const bool strict = supervised.release == ReleaseMode::kStrict;
  const std::vector<KvClass> untrusted = untrusted_classes(sequence);
  RollbackSituation situation;
  situation.before = supervised.rollbacks;
  situation.breach = reading;
  situation.generated = static_cast<std::uint64_t>(sequence.generated);
  situation.released = supervised.released(situation.generated);
  situation.released_is_final = strict;
  situation.anchored = job.anchored;
  situation.has_reminder = fits(job, job.request.supervision->reminder);
  situation.mass = mass_since(sequence, checkpoint_before(sequence, reading.change_token));
  situation.untrusted = untrusted;
  roll_back(sequence, decide_rollback(options_.supervision.rollback, situation), reading);
}

// Whether another prompt leaves room for all the tokens that were promised.
bool EngineCore::fits(const Job& job, const std::vector<TokenSpan>& prompt) const {
  if (prompt.empty()) return false;
  std::int64_t tokens = job.usage.anchor_tokens + job.max_tokens;
  for (const TokenSpan& span : prompt) tokens += static_cast<std::int64_t>(span.tokens.size());
  return tokens <= options_.context_length;
}

void EngineCore::roll_back(Sequence& sequence, const RollbackDecision& decision,
                           const SegmentReading& reading) {
  Supervised& supervised = *sequence.supervised;
  Job& job = *sequence.job;
  const auto generated = static_cast<std::uint64_t>(sequence.generated);
  RollbackRecord record;
  record.from_token = generated;
  record.to_token = checkpoint_before(sequence, decision.to_token);
  record.change = decision.change;
  record.cause = reading.cause;
  record.angle = reading.angle;
  record.quarantined = decision.quarantine;
  record.mass = mass_since(sequence, record.to_token);
  const std::uint64_t sent = supervised.released(generated);
  record.released_tokens = sent > record.to_token ? sent - record.to_token : 0;
  const auto dropped = static_cast<std::int32_t>(generated - record.to_token);
  job.usage.completion_tokens -= dropped;
  job.usage.dropped_tokens += dropped;
  stats_.dropped_tokens += static_cast<std::uint64_t>(dropped);

  supervised.ending.reset();
  supervised.state.reset();
  supervised.end_unsent = false;
  supervised.rollbacks.push_back(record);
  supervised.mark = record;
  const TokenId rejected = sequence.output[record.to_token];
  rewind(sequence, record.to_token);
  retract_text(sequence, record);
  switch (decision.change) {
    case RollbackChange::kStrongerAnchor: {
      const ModelConfig& config = runner_->config();
      supervised.boost(anchor_->view, static_cast<std::size_t>(config.layers * config.heads),
                       options_.supervision.rollback);
      sequence.sampler.forbid(record.to_token, rejected);
      break;
    }
    case RollbackChange::kReseed:
      sequence.sampler.reseed(seed_after(sequence.sampler.seed(), supervised.rollbacks.size()));
      sequence.sampler.cool(options_.supervision.rollback.cooler);
      sequence.sampler.forbid(record.to_token, rejected);
      break;
    case RollbackChange::kRemind:
      change_prompt(sequence, job.request.supervision->reminder);
      break;
    case RollbackChange::kQuarantine: {
      supervised.quarantined.push_back(decision.quarantine);
      std::vector<TokenSpan> prompt = job.request.prompt;
      std::erase_if(prompt, [&](const TokenSpan& span) {
        return std::ranges::find(supervised.quarantined, span.cls) != supervised.quarantined.end();
      });
      change_prompt(sequence, prompt);
      break;
    }
    case RollbackChange::kStop:
      ++stats_.filtered;
      supervised.ending = Ending{FinishReason::kContentFilter, {}, clock_()};
      supervised.end_unsent = true;
      break;
    case RollbackChange::kManual:
      break;
  }
  if (decision.change != RollbackChange::kStop) ++stats_.rollbacks;
  deliver(sequence);
}

// Everything as it was after `to_token` own tokens. The state that the next token is sampled from
// belongs to the last kept token, so that one's row is computed again, to the same bits.
void EngineCore::rewind(Sequence& sequence, std::uint64_t to_token) {
  Supervised& supervised = *sequence.supervised;
  for (std::size_t i = to_token; i < sequence.output.size(); ++i) {
    sequence.sampler.retract(sequence.output[i]);
  }
  sequence.output.resize(to_token);
  sequence.generated = static_cast<std::int32_t>(to_token);
  const std::size_t kept = to_token / kCheckpointTokens + 1;
  while (supervised.checkpoints.size() > kept) supervised.checkpoints.pop_back();
  const Checkpoint& checkpoint = supervised.checkpoints.back();
  sequence.text = checkpoint.text;
  sequence.mass = checkpoint.mass;
  sequence.history.truncate(sequence.prompt_size + sequence.generated);
  if (sequence.table.page_entries().empty()) return;  // it waits: nothing is computed
  const std::int32_t computed = std::min(sequence.computed(), sequence.history.size() - 1);
  sequence.table.truncate(sequence.table_begin + computed);
  sequence.chain.truncate(sequence.table_begin + computed);
}

void EngineCore::change_prompt(Sequence& sequence, const std::vector<TokenSpan>& prompt) {
  FP_CHECK(sequence.generated == 0);
  sequence.restart(prompt);
  const bool runs = std::ranges::any_of(
      running_, [&](const auto& running) { return running.get() == &sequence; });
  if (runs) requeue(sequence);
}

// Held text goes; text that the client has is called back.
void EngineCore::retract_text(Sequence& sequence, const RollbackRecord& record) {
  Supervised& supervised = *sequence.supervised;
  const TextSize kept = supervised.checkpoints.back().size;
  const bool in_vain = supervised.produced == kept;  // the dropped tokens gave no text
  supervised.produced = kept;
  std::erase_if(supervised.held,
                [&](const HeldPiece& held) { return held.end_token > record.to_token; });
  if (supervised.release == ReleaseMode::kStrict || in_vain) return;
  sequence.job->events->push(
      RollbackEvent{sequence.choice, kept.bytes, kept.characters, kept.logprobs, record});
}

// Strict: sends what the tokens before `end_token` gave, as one piece.
void EngineCore::release(Sequence& sequence, std::uint64_t end_token) {
  Supervised& supervised = *sequence.supervised;
  supervised.passed_tokens = std::max(supervised.passed_tokens, end_token);
  TextPiece piece;
  while (!supervised.held.empty() && supervised.held.front().end_token <= end_token) {
    piece.append(std::move(supervised.held.front().piece));
    supervised.held.pop_front();
  }
  if (piece.empty()) return;
  sequence.job->events->push(
      DeltaEvent{sequence.choice, std::move(piece.text), std::move(piece.logprobs)});
}

// The choice ends with what is known of it by now.
void EngineCore::complete(Sequence& sequence) {
  Supervised& supervised = *sequence.supervised;
  SupervisionReport report;
  if (supervised.report) report = *supervised.report;
  report.release = supervised.release;
  report.rollbacks = supervised.rollbacks;
  release(sequence, static_cast<std::uint64_t>(sequence.generated));
  Ending ending = std::move(*supervised.ending);
  end_choice(sequence, std::move(ending.last), ending.reason,
             std::make_shared<const SupervisionReport>(std::move(report)));
}

// The anchor goes, and with it what its angles meant. What nobody judges any more is not
// released where that was promised.
std::int32_t EngineCore::detach_supervised(const Error& reason) {
  std::int32_t failed = 0;
  for (const auto* list : {&waiting_, &running_}) {
    for (const auto& sequence : *list) {
      Supervised* supervised = sequence->supervised.get();
      if (supervised == nullptr || !sequence->job->anchored || sequence->job->ended) continue;
      if (supervised->release == ReleaseMode::kStrict) {
        fail_job(*sequence->job, reason);
        ++failed;
        continue;
      }
      supervisor_->abandon(supervised->number);
      supervised->detached = true;
      supervised->mark.reset();
      supervised->state.reset();
      supervised->end_unsent = false;
      if (supervised->ending) complete(*sequence);
    }
  }
  return failed;
}

}  // namespace fieldprint
