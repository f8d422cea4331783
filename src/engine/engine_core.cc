#include "engine/engine_core.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "core/check.h"
#include "crypto/secret.h"
#include "engine/counter_rng.h"

namespace fieldprint {
namespace {

// JSON numbers hold integers up to 2^53 exactly; a drawn seed must survive being reported.
constexpr std::uint64_t kSeedMask = (std::uint64_t{1} << 53) - 1;

// A refused request looks into the prefix cache anew this often: another one may have
// computed its prefix meanwhile.
constexpr std::uint64_t kStepsBetweenLookups = 16;

tl::unexpected<Error> bad_option(const std::string& name, const std::string& rule) {
  return fail(ErrorKind::kInvalid, "invalid_options", name + " " + rule, name);
}

Status check_options(const EngineOptions& options, const Runner& runner) {
  if (options.context_length < 0) return bad_option("context_length", "must not be negative");
  if (options.max_sequences < 1 || options.max_sequences > runner.max_step_tokens()) {
    return bad_option("max_sequences", "must be 1.." + std::to_string(runner.max_step_tokens()) +
                                           ", the runner's tokens per step");
  }
  if (options.max_queue < 1) return bad_option("max_queue", "must be at least 1");
  if (options.prefill_chunk < 1) return bad_option("prefill_chunk", "must be at least 1");
  if (options.mixed_prefill_chunk < 1) {
    return bad_option("mixed_prefill_chunk", "must be at least 1");
  }
  if (options.event_queue < 1) return bad_option("event_queue", "must be at least 1");
  return validate(options.supervision.rollback);
}

// Name space of an override's pages; empty for other requests. An anchor's digest never
// begins like this.
std::string override_space(const GenerationRequest& request) {
  return request.override_grant ? "override/" + request.override_grant->id : std::string();
}

// Keeps a list ordered by age.
void insert_by_age(std::list<std::unique_ptr<Sequence>>& list, std::unique_ptr<Sequence> item) {
  const auto place =
      std::ranges::find_if(list, [&](const auto& other) { return other->age() > item->age(); });
  list.insert(place, std::move(item));
}

}  // namespace

EngineCore::EngineCore(EngineCoreSetup setup)
    : runner_(std::move(setup.runner)),
      decoder_(std::move(setup.decoder)),
      options_(setup.options),
      clock_(std::move(setup.clock)),
      waker_(std::move(setup.waker)),
      supervisor_(std::move(setup.supervisor)),
      seed_base_(setup.seed_base),
      pool_(runner_->page_count()),
      index_(pool_),
      bare_opening_(std::move(setup.bare_opening)) {
  if (!clock_) clock_ = [] { return std::chrono::steady_clock::now(); };
  if (!waker_) waker_ = std::make_shared<Waker>();
}

EngineCore::~EngineCore() {
  fail_all({ErrorKind::kUnavailable, "engine_stopped", "the engine was shut down", {}});
}

Result<std::unique_ptr<EngineCore>> EngineCore::create(EngineCoreSetup setup) {
  FP_CHECK(setup.runner != nullptr && setup.decoder != nullptr);
  FP_TRY(check_options(setup.options, *setup.runner));
  const AnchorFactory anchor = std::move(setup.anchor);
  std::unique_ptr<EngineCore> core(new EngineCore(std::move(setup)));
  FP_TRY(core->start(anchor));
  return core;
}

// Pins the anchor and resolves the context length against model and pool.
Status EngineCore::start(const AnchorFactory& anchor) {
  if (anchor) {
    FP_TRY(place_anchor(anchor));
    publish_front();
  }
  const std::int32_t in_front = anchor_ ? anchor_->length : 0;
  const std::int64_t room = std::int64_t{pool_.available()} * kPageRows + in_front;
  std::int64_t context = options_.context_length;
  if (context == 0) context = std::min<std::int64_t>(runner_->config().context_train, room);
  if (context > room) {
    return fail(ErrorKind::kExhausted, "kv_exhausted",
                "a context of " + std::to_string(context) +
                    " tokens does not fit the KV cache of " + std::to_string(room) +
                    "; raise --kv-tokens or lower the context",
                "context_length");
  }
  if (context < in_front + 2) {
    return fail(ErrorKind::kInvalid, "invalid_options",
                "a context of " + std::to_string(context) + " tokens leaves no room after " +
                    std::to_string(in_front) + " anchor tokens",
                "context_length");
  }
  options_.context_length = static_cast<std::int32_t>(context);
  return {};
}

Result<std::shared_ptr<Job>> EngineCore::prepare(GenerationRequest request) {
  FP_TRY(validate(request, runner_->config().vocab));
  if (request.choices > options_.max_sequences) {
    return fail(ErrorKind::kInvalid, "invalid_choices",
                "choices " + std::to_string(request.choices) + " exceeds this server's " +
                    std::to_string(options_.max_sequences) + " sequences at once",
                "choices");
  }
  auto job = std::make_shared<Job>();
  AnchorDoor::Front front = door_.front();
  if (request.use_anchor && !request.override_grant) {
    FP_ASSIGN(front, door_.enter());
    job->anchored = front.length > 0;
  }
  job->anchor_number = front.number;
  if (request.supervision) {
    if (!supervisor_ || !front.supervision) {
      return fail(
          ErrorKind::kInvalid, "supervision_unavailable",
          "this server's anchor has no supervision recipe; make one with `fieldprint anchor "
          "calibrate` before the anchor is signed, or ask for release \"none\"",
          "fieldprint.release");
    }
    job->supervision = front.supervision;
    job->model_digest = front.model_digest;
    auto& salt = request.supervision->salt;
    if (std::ranges::all_of(salt, [](std::uint8_t byte) { return byte == 0; })) random_bytes(salt);
  }
  std::int64_t prompt = 0;
  for (const TokenSpan& span : request.prompt)
    prompt += static_cast<std::int64_t>(span.tokens.size());
  const std::int64_t anchor = job->anchored ? front.length : 0;
  const std::int64_t room = options_.context_length - anchor - prompt;
  if (room < 1) {
    return fail(ErrorKind::kInvalid, "context_length_exceeded",
                "the prompt needs " + std::to_string(anchor + prompt + 1) + " tokens (" +
                    std::to_string(prompt) + " of prompt, " + std::to_string(anchor) +
                    " of anchor, 1 to answer), the context holds " +
                    std::to_string(options_.context_length),
                "prompt");
  }
  job->prompt_tokens = static_cast<std::int32_t>(prompt);
  job->max_tokens = static_cast<std::int32_t>(room);
  if (request.max_tokens > 0) job->max_tokens = std::min(job->max_tokens, request.max_tokens);
  job->open_choices = request.choices;
  job->usage.prompt_tokens = job->prompt_tokens;
  job->usage.anchor_tokens = static_cast<std::int32_t>(anchor);
  job->usage.anchors = {job->anchored ? front.digest : std::string()};
  const std::uint64_t draw = prepared_.fetch_add(1, std::memory_order_relaxed);
  const PhiloxBlock drawn = philox4x32(
      {static_cast<std::uint32_t>(draw), static_cast<std::uint32_t>(draw >> 32), 1, 0},
      {static_cast<std::uint32_t>(seed_base_), static_cast<std::uint32_t>(seed_base_ >> 32)});
  job->seed =
      request.sampling.seed.value_or(((std::uint64_t{drawn[0]} << 32) | drawn[1]) & kSeedMask);
  job->events =
      std::make_shared<EventChannel>(static_cast<std::size_t>(options_.event_queue), waker_);
  job->request = std::move(request);
  FP_TRY(check_fits(*job, front.pages));
  return job;
}

// A prompt that the empty pool could not hold would wait forever.
Status EngineCore::check_fits(const Job& job, std::int32_t anchor_pages) const {
  const TokenHistory history(job.request.prompt,
                             job.anchored ? FirstToken::kFollowsSink : FirstToken::kIsSink);
  std::int32_t pages = 1;  // for the answer
  for (const AppendRun& run : history.runs(0, history.size())) {
    pages += (run.tokens + kPageRows - 1) / kPageRows;
  }
  const std::int32_t capacity = runner_->page_count() - anchor_pages;
  if (pages <= capacity) return {};
  return fail(ErrorKind::kExhausted, "kv_exhausted",
              "the prompt needs " + std::to_string(pages) + " KV pages, the cache has " +
                  std::to_string(capacity) + "; raise --kv-tokens or shorten the prompt",
              "prompt");
}

void EngineCore::enqueue(std::shared_ptr<Job> job) {
  job->number = next_number_++;
  if (job->anchored && job->anchor_number != anchor_number_) {
    fail_job(*job, door_.check(job->usage.anchors.front()).error());  // it went by revocation
    return;
  }
  if (job->request.override_grant) ++stats_.overrides;
  auto sequence = std::make_unique<Sequence>(std::move(job), 0, pool_);
  if (const Status opened = open_supervision(*sequence); !opened) {
    fail_job(*sequence->job, opened.error());
    return;
  }
  insert_by_age(waiting_, std::move(sequence));
}

StepOutcome EngineCore::step() {
  sweep();
  supervise();
  admit();
  StepOutcome outcome;
  const std::vector<Sequence*> ready = ready_sequences();
  outcome.worked = !ready.empty();  // also when it only led to preemptions
  std::vector<StepItem> items = build_step(ready);
  if (!items.empty()) run_step(items);
  remove_ended();
  for (const auto* list : {&waiting_, &running_}) {
    for (const auto& sequence : *list) {
      for (const auto& time : {sequence->job->request.deadline, supervision_wake(*sequence)}) {
        if (time && (!outcome.wake_at || *time < *outcome.wake_at)) outcome.wake_at = time;
      }
    }
  }
  if (outcome.worked) {
    audited_ = false;
  } else if (idle() && !audited_) {
    // A wrong reference count would soon show one conversation to another: stop here.
    FP_CHECK(check_integrity().has_value());
    audited_ = true;
  }
  return outcome;
}

// Cancelled and late requests leave before anything is computed for them.
void EngineCore::sweep() {
  const EngineTime now = clock_();
  for (const auto* list : {&waiting_, &running_}) {
    for (const auto& sequence : *list) {
      Job& job = *sequence->job;
      if (job.ended) continue;
      if (job.events->cancel_requested()) {
        fail_job(job, {ErrorKind::kCancelled, "cancelled", "the generation was cancelled", {}});
      } else if (job.request.deadline && now >= *job.request.deadline) {
        fail_job(job, {ErrorKind::kCancelled,
                       "deadline_exceeded",
                       "the request's deadline passed after " +
                           std::to_string(job.usage.completion_tokens) + " generated tokens",
                       {}});
      }
    }
  }
  remove_ended();
}

// In order of age. A request too large for now holds back the ones behind it (else it
// could starve); one whose consumer is slow does not, and running ones whose consumers
// are slow make place for it.
void EngineCore::admit() {
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    Sequence& sequence = **it;
    if (sequence.paused()) {
      ++it;
      continue;
    }
    if (used_slots() + sequence.slots() > options_.max_sequences || !try_admit(sequence)) {
      Sequence* paused = youngest_paused();
      if (paused == nullptr) break;
      preempt(*paused);
      continue;
    }
    std::unique_ptr<Sequence> admitted = std::move(*it);
    it = waiting_.erase(it);
    insert_by_age(running_, std::move(admitted));
  }
}

Sequence* EngineCore::youngest_paused() const {
  for (auto it = running_.rbegin(); it != running_.rend(); ++it) {
    if ((*it)->paused()) return it->get();
  }
  return nullptr;
}

// Takes the cached pages and a slot if the rest of the known tokens, and a page more
// for each choice, fit beside what the running sequences still need for theirs.
bool EngineCore::try_admit(Sequence& sequence) {
  const bool look_again = stats_.steps % kStepsBetweenLookups == 0 || running_.empty();
  if (sequence.age() == refused_age_ && !look_again &&
      refused_pages_ + promised_pages() > pool_.available()) {
    return false;
  }
  attach(sequence);
  const std::vector<AppendRun> runs =
      sequence.history.runs(sequence.computed(), sequence.remaining());
  const std::int32_t needed = sequence.table.plan(runs).new_pages + sequence.slots();
  // With nothing else running it is let in on less: check_fits() has seen the prompt fit.
  if (!running_.empty() && needed + promised_pages() > pool_.available()) {
    sequence.table.clear();
    refused_age_ = sequence.age();
    refused_pages_ = needed;
    return false;
  }
  Job& job = *sequence.job;
  if (!job.admitted) {
    job.admitted = true;
    left_queue_.fetch_add(1, std::memory_order_relaxed);
    job.admitted_at = clock_();
    job.usage.cached_tokens = sequence.computed();
    stats_.prompt_tokens += static_cast<std::uint64_t>(job.prompt_tokens);
    stats_.cached_tokens += static_cast<std::uint64_t>(job.usage.cached_tokens);
  }
  return true;
}

// Lays out the start of a context: the anchor's sink page and gap, then cached pages.
void EngineCore::attach(Sequence& sequence) {
  FP_CHECK(sequence.table.page_entries().empty());
  const bool anchored = sequence.job->anchored;
  if (anchored) {
    sequence.table.adopt(std::span(&anchor_->sink, 1));
    sequence.table.cut_leaf();
    sequence.table.skip_to(anchor_->length);
  }
  sequence.table_begin = sequence.table.length();
  const GenerationRequest& request = sequence.job->request;
  if (anchored) {
    sequence.chain =
        PrefixIndex::root(request.cache_salt, anchor_->seed, sequence.table_begin, anchor_->digest);
  } else {
    const std::string space = override_space(request);
    sequence.chain = PrefixIndex::root(request.cache_salt, space, sequence.table_begin, space);
  }
  if (!options_.prefix_cache) return;
  const std::vector<PrefixSpan> spans = sequence.history.spans();
  PrefixMatch match = index_.lookup(sequence.chain, spans);
  sequence.table.adopt(match.pages);
  sequence.chain = std::move(match.chain);
}

// Pages that the running sequences need to compute the tokens they already have.
std::int32_t EngineCore::promised_pages() const {
  std::int32_t pages = 0;
  for (const auto& sequence : running_) {
    const auto runs = sequence->history.runs(sequence->computed(), sequence->remaining());
    pages += sequence->table.plan(runs).new_pages;
  }
  return pages;
}

std::int32_t EngineCore::used_slots() const {
  std::int32_t slots = 0;
  for (const auto& sequence : running_) slots += sequence->slots();
  return slots;
}

void EngineCore::preempt(Sequence& victim) {
  requeue(victim);
  ++stats_.preemptions;
}

// Back to the queue without pages; its tokens will be computed again.
void EngineCore::requeue(Sequence& sequence) {
  const auto it =
      std::ranges::find_if(running_, [&](const auto& s) { return s.get() == &sequence; });
  FP_CHECK(it != running_.end());
  sequence.table.clear();
  std::unique_ptr<Sequence> owned = std::move(*it);
  running_.erase(it);
  insert_by_age(waiting_, std::move(owned));
}

void EngineCore::fail_job(Job& job, const Error& error) {
  if (job.ended) return;
  job.ended = true;
  if (!job.admitted) left_queue_.fetch_add(1, std::memory_order_relaxed);
  job.events->push(FailedEvent{error});
}

// Frees the pages of finished choices and of ended jobs. An override's pages leave the
// cache with it: its name space is used once.
void EngineCore::remove_ended() {
  std::set<std::string> spaces;
  const auto gone = [this, &spaces](const auto& s) {
    if (s->job->ended && s->job->request.override_grant) {
      spaces.insert(override_space(s->job->request));
    }
    if (!s->done && !s->job->ended) return false;
    if (s->followed()) supervisor_->abandon(s->supervised->number);
    return true;
  };
  std::erase_if(waiting_, gone);
  std::erase_if(running_, gone);
  for (const std::string& space : spaces) index_.drop_family(space);
}

void EngineCore::fail_all(const Error& error) {
  for (const auto* list : {&waiting_, &running_}) {
    for (const auto& sequence : *list) fail_job(*sequence->job, error);
  }
  remove_ended();
}

EngineStats EngineCore::stats() const {
  EngineStats stats = stats_;
  stats.running = static_cast<std::int32_t>(running_.size());
  stats.waiting = static_cast<std::int32_t>(waiting_.size());
  stats.pages_total = pool_.page_count();
  stats.pages_used = pool_.used_count();
  stats.pages_cached = pool_.cached_count();
  if (supervisor_) stats.supervisor = supervisor_->metrics();
  return stats;
}

Status EngineCore::check_integrity() const {
  FP_TRY(pool_.check_integrity());
  FP_TRY(index_.check_integrity());
  std::vector<const BlockTable*> tables;
  for (const auto& sequence : running_) tables.push_back(&sequence->table);
  return check_references(pool_, tables);
}

}  // namespace fieldprint
