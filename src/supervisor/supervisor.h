// The supervisor: worker threads that follow every supervised sequence through its hidden states.
//
//   engine --ring--> worker: fingerprint -> chain -> angle -> detector --verdicts--> engine
//                       \--> SegmentSink: segments, breaches, rollbacks to the ledger
//
// The engine never waits: it pushes into a ring, learns at once whether there was room, and
// collects verdicts. Workers never touch device, pool or sequences.
//
// A sequence's records come in order: its states, rollback marks, its end. A verdict carries the
// number of rollback marks the worker had read (`generation`); the engine ignores verdicts older
// than its own count. At a rollback mark the worker puts pooled state and detector back to where
// they were at that token (it keeps them at every block of 16 tokens).
//
// Thread rule: everything but create(), metrics() and the destructor belongs to the engine's
// thread. wake is called from workers after a verdict was queued and must not block.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "supervisor/chain.h"
#include "supervisor/detector.h"
#include "supervisor/recipe.h"
#include "supervisor/report.h"
#include "supervisor/ring.h"

namespace fieldprint {

struct SupervisorOptions {
  std::int32_t workers = 1;       // 1..16; a sequence stays with one
  std::size_t ring_slots = 1024;  // states each worker may be behind
  std::int32_t hidden = 0;        // of the model
  bool layer_states = false;      // rings hold a layer's state beside the final one
};

// What the workers hand on for keeping. Implemented by SegmentLog (segment_log.h) and by tests.
// Called from worker threads, several at once.
struct SupervisedBreach {
  std::string response_id;
  SegmentReading reading;
  Digest256 chain{};  // head at that time
};
class SegmentSink {
 public:
  virtual ~SegmentSink() = default;
  // Never waits: optimistic sequences share the worker. Without room an optimistic entry is kLost,
  // counted in the report (`unlogged`); a strict one is kLater: it is offered again, and until it
  // is taken the sequence gets no verdict and room() for it is 0.
  enum class Taken : std::uint8_t { kTaken, kLost, kLater };
  virtual Taken segment(const ChainBinding& binding, const Segment& segment,
                        OverflowPolicy policy) = 0;
  virtual Taken breach(const SupervisedBreach& breach, OverflowPolicy policy) = 0;
  virtual Taken rollback(const std::string& response_id, const RollbackRecord& record,
                         OverflowPolicy policy) = 0;
};

// What must be known of a sequence before its first state.
struct SupervisionStart {
  ChainBinding binding;
  std::shared_ptr<const SupervisionModel> model;  // not null
  bool coherence = true;  // false: no angle (no anchor in front); fingerprints only
  OverflowPolicy policy = OverflowPolicy::kOptimistic;
  DetectorState detector;  // of the session so far
};

struct SupervisionVerdict {
  enum class Kind : std::uint8_t { kSegment, kEnd };
  Kind kind = Kind::kSegment;
  std::uint64_t sequence = 0;
  SegmentReading reading;  // kSegment: every segment up to reading.end_token has been judged
  // kEnd: all that a worker knows; release, rollbacks are left to the engine.
  std::shared_ptr<const SupervisionReport> report;
};

struct SupervisorMetrics {
  std::uint64_t tokens = 0;  // fingerprinted
  std::uint64_t segments = 0;
  std::uint64_t breaches = 0;
  std::uint64_t gaps = 0;      // tokens that found no room
  std::uint64_t unlogged = 0;  // entries the sink did not take
  std::uint64_t rollbacks = 0;
  double angle_sum = 0;  // of measured segments, radians
  std::uint64_t angles = 0;
  double lag_seconds = 0;  // of the last verdict: push of its last state to verdict
};

class Supervisor {
 public:
  // sink may be null: nothing is kept. It and wake must outlive the supervisor. Errors:
  // invalid_options.
  static Result<std::unique_ptr<Supervisor>> create(const SupervisorOptions& options,
                                                    SegmentSink* sink, std::function<void()> wake);
  virtual ~Supervisor() = default;  // stops the workers; what was not judged stays so

  // A number for the sequence, never used again. Never waits. Errors: fingerprint_binding_invalid.
  virtual Result<std::uint64_t> open(SupervisionStart start) = 0;
  // States that push() will take from this sequence now without kPause or kGap. Sequences of one
  // worker share its ring: ring_of() tells which.
  virtual std::size_t room(std::uint64_t sequence) const = 0;
  virtual std::size_t ring_of(std::uint64_t sequence) const = 0;
  virtual PushResult push(std::uint64_t sequence, const TapState& state) = 0;
  // The response goes on at record.to_token, a multiple of kCheckpointTokens. Offer it again after
  // kPause, before the next state.
  virtual PushResult push_rollback(std::uint64_t sequence, const RollbackRecord& record) = 0;
  // No state comes after it. The verdict of kind kEnd follows. A rollback mark may still come
  // after it, and then states and another end. Offer it again after kPause.
  virtual PushResult push_end(std::uint64_t sequence) = 0;
  // The sequence is over for the engine: no verdict about it any more. Never waits.
  virtual void abandon(std::uint64_t sequence) = 0;
  // Verdicts since the last call, in order for each sequence. Never waits.
  virtual std::vector<SupervisionVerdict> take_verdicts() = 0;

  virtual SupervisorMetrics metrics() const = 0;
};

}  // namespace fieldprint
