// The engine without its thread: queue, scheduler, KV pages and one runner, advanced by
// step(). Deterministic: given the same calls, clock readings and seed it does the same,
// which is what the simulation tests and any replay rest on.
//
// A step:  sweep (cancelled, past deadline) -> supervise (verdicts, rollbacks) -> admit -> share
// the token budget -> plan and commit pages, preempting the youngest -> runner.forward -> sample,
// emit, index.
//
// Invariants: a job gets exactly one terminal event; a sequence is in exactly one of
// waiting and running; only running ones hold pages. A sequence whose consumer is slow is
// paused: not scheduled, and the first to give up its pages and slot to others.
//
// Thread rule: prepare(), left_queue() and door() from any thread; everything else from one.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/anchor_front.h"
#include "engine/engine.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"
#include "engine/token_decoder.h"
#include "kv/block_pool.h"
#include "kv/prefix_index.h"
#include "runner/runner.h"

namespace fieldprint {

struct EngineCoreSetup {
  std::unique_ptr<Runner> runner;
  std::shared_ptr<const TokenDecoder> decoder;
  EngineOptions options;
  AnchorFactory anchor;                    // empty: no anchor
  std::vector<TokenId> bare_opening;       // what a context without an anchor begins with (BOS)
  std::function<EngineTime()> clock;       // empty: steady_clock
  std::shared_ptr<Waker> waker;            // empty: a private one
  std::unique_ptr<Supervisor> supervisor;  // null: nothing can be supervised
  std::uint64_t seed_base = 0;             // requests without a seed draw from this
};

struct StepOutcome {
  bool worked = false;                // false: nothing can be computed now
  std::optional<EngineTime> wake_at;  // the next deadline among live requests
};

class EngineCore {
 public:
  // Errors: invalid_options, kv_exhausted (the context does not fit the pool, or the
  // anchor does not), anchor_* of the factory.
  static Result<std::unique_ptr<EngineCore>> create(EngineCoreSetup setup);
  ~EngineCore();

  // Checks a request and resolves its defaults. Errors: invalid_*, anchor_revoked,
  // context_length_exceeded, kv_exhausted (can never fit the pool).
  Result<std::shared_ptr<Job>> prepare(GenerationRequest request);
  // Queues a prepared job. One prepared for an anchor that has gone since fails at once
  // with anchor_revoked.
  void enqueue(std::shared_ptr<Job> job);

  // Takes the anchor away (engine/revocation.h). replacement: empty for none, and used
  // with kReanchor only. reason: what requests behind it are told, the first one given.
  RevocationOutcome revoke(const std::string& digest, RevocationPolicy policy,
                           const AnchorFactory& replacement, const Error& reason);
  RevocationOutcome revoke(const std::string& digest, RevocationPolicy policy,
                           const AnchorFactory& replacement) {
    return revoke(digest, policy, replacement, anchor_revoked_error(digest));
  }
  AnchorDoor& door() { return door_; }

  StepOutcome step();
  // Ends every live request with `error`.
  void fail_all(const Error& error);

  bool idle() const { return waiting_.empty() && running_.empty(); }
  // Jobs that have left the queue, by running or by ending in it. From any thread.
  std::uint64_t left_queue() const { return left_queue_.load(std::memory_order_relaxed); }
  EngineStats stats() const;
  // Audits pool, index and references. Errors: kv_integrity.
  Status check_integrity() const;
  // Drops the prefix cache.
  void clear_cache() { index_.clear(); }

  const EngineOptions& options() const { return options_; }
  Runner& runner() { return *runner_; }
  const Runner& runner() const { return *runner_; }

 private:
  struct StepItem {
    Sequence* sequence = nullptr;
    std::int32_t begin = 0;  // history index of the first token
    std::int32_t count = 0;
    AppendedRows rows;
    bool wants_logits = false;
  };
  // Hidden states of one output row; empty where they were not asked for.
  struct TapRows {
    std::span<const float> final;
    std::span<const float> layer;
  };
  enum class CommitResult : std::uint8_t { kCommitted, kPreempted, kFailed };

  explicit EngineCore(EngineCoreSetup setup);
  Status start(const AnchorFactory& anchor);
  Status check_fits(const Job& job, std::int32_t anchor_pages) const;

  // engine_core.cc: queue and lifetime
  void sweep();
  void admit();
  bool try_admit(Sequence& sequence);
  void attach(Sequence& sequence);
  std::int32_t promised_pages() const;
  std::int32_t used_slots() const;
  Sequence* youngest_paused() const;
  void preempt(Sequence& victim);
  void requeue(Sequence& sequence);
  void fail_job(Job& job, const Error& error);
  void remove_ended();

  // engine_revoke.cc
  void requeue_anchored();
  void remove_anchor(RevocationOutcome& outcome);
  Status place_anchor(const AnchorFactory& factory);
  void publish_front();
  bool reanchor(Job& job);

  // engine_supervise.cc
  Status open_supervision(Sequence& sequence);
  void supervise();
  Sequence* find_supervised(std::uint64_t number) const;
  void keep_checkpoint(Sequence& sequence);
  void tap(Sequence& sequence, TokenId token, const TapRows& rows);
  void deliver(Sequence& sequence);
  void judge(Sequence& sequence, const SupervisionVerdict& verdict);
  void breach(Sequence& sequence, const SegmentReading& reading);
  void roll_back(Sequence& sequence, const RollbackDecision& decision,
                 const SegmentReading& reading);
  void rewind(Sequence& sequence, std::uint64_t to_token);
  void change_prompt(Sequence& sequence, const std::vector<TokenSpan>& prompt);
  bool fits(const Job& job, const std::vector<TokenSpan>& prompt) const;
  void retract_text(Sequence& sequence, const RollbackRecord& record);
  void release(Sequence& sequence, std::uint64_t end_token);
  void complete(Sequence& sequence);
  std::int32_t detach_supervised(const Error& reason);
  std::optional<EngineTime> supervision_wake(const Sequence& sequence) const;

  // engine_step.cc: one forward step and what follows from it
  std::vector<Sequence*> ready_sequences();
  std::vector<StepItem> build_step(std::span<Sequence* const> ready);
  CommitResult commit(Sequence& sequence, StepItem& item);
  Sequence* pick_victim(const Sequence& needy);
  void run_step(std::vector<StepItem>& items);
  void apply(std::vector<StepItem>& items, const StepOutput& output);
  TapRows next_tap(const Sequence& sequence, const StepOutput& output, std::size_t& final_row,
                   std::size_t& layer_row) const;
  void fail_step(std::vector<StepItem>& items, const Error& error);
  std::vector<Sequence*> fork_choices(Sequence& first);
  Status take_token(Sequence& sequence, std::span<const float> logits, std::span<const float> mass,
                    const TapRows& rows);
  TokenLogprob describe(const SampledToken& sampled) const;
  void emit(Sequence& sequence, TextPiece piece);
  void finish(Sequence& sequence, TextPiece last, FinishReason reason);
  void end_choice(Sequence& sequence, TextPiece last, FinishReason reason,
                  std::shared_ptr<const SupervisionReport> report);
  void finish_job(Job& job);

  std::unique_ptr<Runner> runner_;
  std::shared_ptr<const TokenDecoder> decoder_;
  EngineOptions options_;
  std::function<EngineTime()> clock_;
  std::shared_ptr<Waker> waker_;
  std::unique_ptr<Supervisor> supervisor_;
  std::uint64_t seed_base_;
  std::atomic<std::uint64_t> prepared_{0};
  std::atomic<std::uint64_t> left_queue_{0};

  BlockPool pool_;
  PrefixIndex index_;
  std::optional<AnchorInFront> anchor_;
  std::int32_t anchor_pages_ = 0;
  std::uint64_t anchor_number_ = 0;
  AnchorDoor door_;
  std::vector<TokenId> bare_opening_;
  std::list<std::unique_ptr<Sequence>> waiting_;  // ascending age
  std::list<std::unique_ptr<Sequence>> running_;  // ascending age
  std::uint64_t next_number_ = 1;
  std::uint64_t cursor_ = 0;  // round robin, scheduler.h
  // Last refused admission: whom, and what it needed. Saves hashing its prompt each step.
  std::uint64_t refused_age_ = 0;
  std::int32_t refused_pages_ = 0;
  bool audited_ = true;  // since the last work
  EngineStats stats_;
};

}  // namespace fieldprint
