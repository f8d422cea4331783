// EngineCore: one forward step and what follows from its output.
#include <algorithm>
#include <cmath>
#include <utility>

#include "core/check.h"
#include "engine/engine_core.h"

namespace fieldprint {

std::vector<Sequence*> EngineCore::ready_sequences() {
  std::vector<Sequence*> ready;
  for (const auto& sequence : running_) {
    if (!sequence->paused()) ready.push_back(sequence.get());
  }
  return ready;
}

std::vector<EngineCore::StepItem> EngineCore::build_step(std::span<Sequence* const> ready) {
  std::vector<StepDemand> demands;
  for (const Sequence* sequence : ready) {
    demands.push_back({sequence->age(), sequence->remaining()});
  }
  const StepLimits limits{options_.prefill_chunk, options_.mixed_prefill_chunk,
                          runner_->max_step_tokens()};
  const StepShares shares = share_step(demands, limits, cursor_);
  cursor_ = shares.cursor;

  // Oldest first: victims of preemption are younger or paused, so never committed yet.
  std::vector<StepItem> items;
  for (std::size_t i = 0; i < ready.size(); ++i) {
    Sequence& sequence = *ready[i];
    if (shares.tokens[i] == 0) continue;
    const bool still_running =
        std::ranges::any_of(running_, [&](const auto& s) { return s.get() == &sequence; });
    if (!still_running || sequence.job->ended) continue;
    StepItem item{&sequence, sequence.computed(), shares.tokens[i], {}, false};
    item.wants_logits = item.begin + item.count == sequence.history.size();
    if (commit(sequence, item) == CommitResult::kCommitted) items.push_back(std::move(item));
  }
  std::erase_if(items, [](const StepItem& item) { return item.sequence->job->ended; });
  return items;
}

EngineCore::CommitResult EngineCore::commit(Sequence& sequence, StepItem& item) {
  const std::vector<AppendRun> runs = sequence.history.runs(item.begin, item.count);
  // Planned anew after each victim: its going may also make a shared page ours alone.
  for (AppendPlan plan = sequence.table.plan(runs); plan.new_pages > pool_.available();
       plan = sequence.table.plan(runs)) {
    if (Sequence* victim = pick_victim(sequence)) {
      preempt(*victim);
    } else if (running_.size() > 1) {
      preempt(sequence);
      return CommitResult::kPreempted;
    } else {
      fail_job(*sequence.job, pool_.exhausted_error(plan.new_pages));
      return CommitResult::kFailed;
    }
  }
  Result<AppendedRows> rows = sequence.table.commit(runs);
  FP_CHECK(rows.has_value());  // planned just now
  item.rows = std::move(*rows);
  if (item.rows.copy) {
    const Status copied = runner_->copy_page(item.rows.copy->from, item.rows.copy->to);
    if (!copied) {
      fail_job(*sequence.job, copied.error());
      index_.clear();
      return CommitResult::kFailed;
    }
  }
  return CommitResult::kCommitted;
}

// Paused sequences first (they make no progress with their pages), then those younger
// than the needy one; the youngest of either kind.
Sequence* EngineCore::pick_victim(const Sequence& needy) {
  if (Sequence* paused = youngest_paused()) return paused;
  Sequence& youngest = *running_.back();
  return youngest.age() > needy.age() ? &youngest : nullptr;
}

void EngineCore::run_step(std::vector<StepItem>& items) {
  const EngineTime begin = clock_();
  std::vector<SequenceStep> steps;
  steps.reserve(items.size());
  for (const StepItem& item : items) {
    const Sequence& sequence = *item.sequence;
    SequenceStep step;
    step.tokens = sequence.history.tokens().subspan(static_cast<std::size_t>(item.begin),
                                                    static_cast<std::size_t>(item.count));
    step.slots = item.rows.slots;
    step.plan.first_query_pos = sequence.table_begin + item.begin;
    step.plan.pages = sequence.table.page_entries();
    step.plan.leaves = sequence.table.leaves();
    if (sequence.job->anchored) {
      step.plan.leaves_before_anchor = 1;
      step.plan.anchor =
          sequence.supervised ? sequence.supervised->anchor(anchor_->view) : anchor_->view;
    }
    step.logits = item.wants_logits ? LogitsWanted::kLast : LogitsWanted::kNone;
    if (sequence.followed()) {
      step.tap = TapWanted::kFinal;
      if (sequence.supervised->coherence) {
        step.tap = TapWanted::kFinalAndLayer;
        step.tap_layer = sequence.supervised->model->coherence()->recipe().layer;
      }
    }
    steps.push_back(step);
  }
  const Result<StepOutput> output = runner_->forward(steps);
  if (output) {
    apply(items, *output);
  } else {
    fail_step(items, output.error());
  }
  ++stats_.steps;
  stats_.busy_seconds += std::chrono::duration<double>(clock_() - begin).count();
}

void EngineCore::fail_step(std::vector<StepItem>& items, const Error& error) {
  for (const StepItem& item : items) fail_job(*item.sequence->job, error);
  // What the device wrote before it failed is not known to be whole.
  index_.clear();
}

void EngineCore::apply(std::vector<StepItem>& items, const StepOutput& output) {
  const auto vocab = static_cast<std::size_t>(output.vocab_size);
  std::size_t row = 0;
  std::size_t final_row = 0;
  std::size_t layer_row = 0;
  bool poisoned = false;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (!items[i].wants_logits) continue;
    FP_CHECK((row + 1) * vocab <= output.logits.size());
    const std::span<const float> logits = output.logits.subspan(row++ * vocab, vocab);
    const std::span<const float> mass = output.mass.subspan(i * kKvClasses, kKvClasses);
    Sequence& sequence = *items[i].sequence;
    const TapRows rows = next_tap(sequence, output, final_row, layer_row);
    for (Sequence* choice : fork_choices(sequence)) {
      if (sequence.job->ended) break;
      const Status taken = take_token(*choice, logits, mass, rows);
      if (taken) continue;
      fail_job(*choice->job, taken.error());
      poisoned = true;
    }
  }
  // Pages computed from a poisoned one may be cached under any key behind it, so no
  // single page can be dropped safely: the whole index goes.
  if (poisoned) {
    index_.clear();
  } else if (options_.prefix_cache) {
    for (const StepItem& item : items) {
      Sequence& sequence = *item.sequence;
      if (sequence.supervised && sequence.supervised->boosted) continue;
      index_.insert_closed(sequence.chain, sequence.table, sequence.history.tokens());
    }
  }
}

// All choices of the job when `first` has just computed the prompt; else itself.
std::vector<Sequence*> EngineCore::fork_choices(Sequence& first) {
  std::vector<Sequence*> choices{&first};
  if (std::exchange(first.waiting_choices, 1) == 1) return choices;
  auto place = std::ranges::find_if(running_, [&](const auto& s) { return s.get() == &first; });
  FP_CHECK(place != running_.end());
  for (std::int32_t i = 1; i < first.job->request.choices; ++i) {
    place = running_.insert(std::next(place), std::make_unique<Sequence>(first, i));
    choices.push_back(place->get());
    const Status opened = open_supervision(**place);
    if (!opened) fail_job(*first.job, opened.error());
  }
  return choices;
}

// The sequence's row of the states that were asked for; they come in the order of the steps.
EngineCore::TapRows EngineCore::next_tap(const Sequence& sequence, const StepOutput& output,
                                         std::size_t& final_row, std::size_t& layer_row) const {
  TapRows rows;
  if (!sequence.followed()) return rows;
  const auto hidden = static_cast<std::size_t>(output.hidden_size);
  rows.final = output.tap_final.subspan(final_row++ * hidden, hidden);
  if (sequence.supervised->coherence) {
    rows.layer = output.tap_layer.subspan(layer_row++ * hidden, hidden);
  }
  return rows;
}

Status EngineCore::take_token(Sequence& sequence, std::span<const float> logits,
                              std::span<const float> mass, const TapRows& rows) {
  Job& job = *sequence.job;
  FP_ASSIGN(const SampledToken sampled,
            sequence.sampler.sample(logits, static_cast<std::uint64_t>(sequence.generated)));
  for (std::size_t c = 0; c < kKvClasses; ++c) {
    if (!std::isfinite(mass[c])) {
      return fail(ErrorKind::kInternal, "attention_mass_not_finite",
                  "the model's attention mass holds NaN or infinity; the generation was stopped");
    }
    sequence.mass[c] += static_cast<double>(mass[c]);
  }
  if (!job.first_token_at) job.first_token_at = clock_();
  ++sequence.generated;
  sequence.output.push_back(sampled.token);
  ++job.usage.completion_tokens;
  ++stats_.generated_tokens;
  sequence.sampler.accept(sampled.token);
  if (sequence.followed()) tap(sequence, sampled.token, rows);
  if (decoder_->is_end_of_generation(sampled.token) && !job.request.ignore_eos) {
    finish(sequence, {}, FinishReason::kStop);
    return {};
  }
  std::optional<TokenLogprob> logprob;
  if (job.request.sampling.logprobs >= 0) logprob = describe(sampled);
  TextPiece piece = sequence.text.push(decoder_->text(sampled.token), std::move(logprob));
  if (piece.stopped) {
    finish(sequence, std::move(piece), FinishReason::kStop);
  } else if (sequence.generated == job.max_tokens) {
    finish(sequence, std::move(piece), FinishReason::kLength);
  } else {
    emit(sequence, std::move(piece));
    sequence.history.append(sampled.token, KvClass::kOutput);
    keep_checkpoint(sequence);
  }
  return {};
}

TokenLogprob EngineCore::describe(const SampledToken& sampled) const {
  TokenLogprob entry{sampled.token, decoder_->label(sampled.token), sampled.logprob, {}};
  for (const Candidate& c : sampled.top) {
    entry.top.push_back({{c.token, decoder_->label(c.token)}, c.value});
  }
  return entry;
}

void EngineCore::emit(Sequence& sequence, TextPiece piece) {
  if (piece.empty()) return;
  if (Supervised* supervised = sequence.supervised.get()) {
    supervised->produced.add(piece);
    if (supervised->release == ReleaseMode::kStrict) {
      supervised->held.push_back(
          {static_cast<std::uint64_t>(sequence.generated), std::move(piece)});
      return;
    }
  }
  sequence.job->events->push(
      DeltaEvent{sequence.choice, std::move(piece.text), std::move(piece.logprobs)});
}

// A supervised choice ends when its last verdict is there.
void EngineCore::finish(Sequence& sequence, TextPiece last, FinishReason reason) {
  Supervised* supervised = sequence.supervised.get();
  if (supervised == nullptr) return end_choice(sequence, std::move(last), reason, nullptr);
  supervised->ending = Ending{reason, std::move(last), clock_()};
  if (supervised->detached) return complete(sequence);
  supervised->end_unsent = true;
  deliver(sequence);
}

void EngineCore::end_choice(Sequence& sequence, TextPiece last, FinishReason reason,
                            std::shared_ptr<const SupervisionReport> report) {
  Job& job = *sequence.job;
  TextPiece rest = sequence.text.finish();
  // Flushed bytes can complete a stop string that holds U+FFFD.
  if (rest.stopped) reason = FinishReason::kStop;
  last.append(std::move(rest));
  if (!last.empty()) {
    job.events->push(DeltaEvent{sequence.choice, std::move(last.text), std::move(last.logprobs)});
  }
  job.events->push(ChoiceDoneEvent{sequence.choice, reason,
                                   job.seed + static_cast<std::uint64_t>(sequence.choice),
                                   std::move(sequence.output), std::move(report)});
  sequence.done = true;
  for (std::size_t c = 0; c < kKvClasses; ++c) job.mass[c] += sequence.mass[c];
  FP_CHECK(job.open_choices > 0);
  if (--job.open_choices == 0) finish_job(job);
}

void EngineCore::finish_job(Job& job) {
  FP_CHECK(!job.ended);
  const double tokens = std::max(1, job.usage.completion_tokens);  // all may be taken back
  for (std::size_t c = 0; c < kKvClasses; ++c) {
    job.usage.mass[c] = static_cast<float>(job.mass[c] / tokens);
  }
  const auto seconds = [](EngineTime from, EngineTime to) {
    return std::chrono::duration<double>(to - from).count();
  };
  FP_CHECK(job.first_token_at.has_value());
  job.usage.prefill_seconds = seconds(job.admitted_at, *job.first_token_at);
  job.usage.decode_seconds = seconds(*job.first_token_at, clock_());
  job.ended = true;
  job.events->push(DoneEvent{job.usage});
}

}  // namespace fieldprint
