// The way of hidden states from the engine thread to one worker: a bounded ring of slots.
//
// The producer never waits, never allocates and takes no lock. When no slot is free it learns so
// at once and the policy of that sequence decides:
//   strict      the state is not taken; pause the sequence and offer the same state later.
//               room() tells beforehand, so that the step need not be computed in vain.
//   optimistic  the state is lost and counted; the next record of that sequence says how many
//               are missing before it, so a gap can be stated but never overlooked.
// The end of a sequence and a rollback mark are control records, never lost under either policy:
// offer them again until they are taken. They too carry the gap that no state came after.
//
// Waking a sleeping thread costs the producer a system call, so states do it only when the
// consumer sleeps deeply; one that naps looks by itself every few milliseconds.
//
// Thread rule: one producer thread, one consumer thread; poke() from any. Several workers have a
// ring each, and a sequence stays with one worker, so that its states arrive in order.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "supervisor/report.h"

namespace fieldprint {

enum class OverflowPolicy : std::uint8_t { kStrict, kOptimistic };

// What became of a record: taken; not taken, offer it again; lost and counted.
enum class PushResult : std::uint8_t { kTaken, kPause, kGap };

enum class TapKind : std::uint8_t { kState, kEnd, kRollback };

// Producer's side of one sequence; the engine keeps it beside the sequence.
struct TapSource {
  std::uint64_t sequence = 0;  // the engine's number for it
  OverflowPolicy policy = OverflowPolicy::kStrict;
  std::uint64_t untold_gap = 0;  // states lost since the last record that was taken
  std::uint64_t total_gap = 0;   // states lost since the sequence began
};

// One state as the producer has it. Spans are copied.
struct TapState {
  std::uint64_t position = 0;    // place in the response of the token sampled from this state
  std::int32_t token = 0;        // that token
  std::span<const float> final;  // [final_size]
  std::span<const float> layer;  // [layer_size], or empty
};

// One record as the consumer sees it; spans are valid until release().
struct TapRecord {
  TapKind kind = TapKind::kState;
  std::uint64_t sequence = 0;
  std::uint64_t position = 0;
  std::int32_t token = 0;
  std::uint64_t gap_before = 0;  // states of this sequence lost just before this record
  std::span<const float> final;
  std::span<const float> layer;
  RollbackRecord rollback;     // kRollback
  std::int64_t pushed_ns = 0;  // tap_clock_ns()
};

std::int64_t tap_clock_ns();  // monotonic

class TapRing {
 public:
  // slots > 0. All memory is taken here: slots * (final_size + layer_size) floats and headers.
  TapRing(std::size_t slots, std::size_t final_size, std::size_t layer_size);
  TapRing(const TapRing&) = delete;
  TapRing& operator=(const TapRing&) = delete;

  // Producer. Records that push() will take without a kPause or kGap; can only grow until the
  // next push.
  std::size_t room() const;
  PushResult push(TapSource& source, const TapState& state);
  // kTaken or kPause, whatever the policy.
  PushResult push_end(TapSource& source);
  PushResult push_rollback(TapSource& source, const RollbackRecord& rollback);
  // Records taken since the beginning.
  std::uint64_t pushed() const { return tail_.load(std::memory_order_relaxed); }
  // No record comes after this; a waiting consumer wakes up. Idempotent.
  void close();

  // Any thread: the consumer's present sleep ends, or its next one does at once.
  void poke();

  // Consumer. The oldest record; nullptr when there is none (poll), or when the ring is closed
  // and empty (wait). release() gives its slot back; call it once for each record.
  const TapRecord* poll();
  const TapRecord* wait();
  void release();
  // Records given back since the beginning.
  std::uint64_t released() const { return head_.load(std::memory_order_relaxed); }
  bool closed() const { return closed_.load(std::memory_order_acquire); }
  // Whether the producer found no room since the last call: it may want to hear that there is.
  bool room_awaited();
  // Ends with any record, or only with control records, close() and poke(); and `at_most`, unless
  // 0.
  enum class Sleep : std::uint8_t { kUntilControl = 1, kUntilAnyRecord = 2 };
  void sleep(Sleep until, std::chrono::microseconds at_most);

 private:
  TapRecord* free_slot();
  void fill(TapRecord& record, TapKind kind, TapSource& source);
  void publish(TapKind kind);
  PushResult push_control(TapKind kind, TapSource& source, const RollbackRecord& rollback);

  // The indices count records since the beginning; slot = index % slots. Each on a cache line
  // of its own, or the two threads would pull one line back and forth.
  static constexpr std::size_t kLine = 64;
  alignas(kLine) std::atomic<std::uint64_t> head_{0};    // written by the consumer
  alignas(kLine) std::atomic<std::uint64_t> tail_{0};    // written by the producer
  alignas(kLine) std::atomic<std::uint32_t> signal_{0};  // changes when a sleeper must look
  std::atomic<std::uint8_t> asleep_{0};                  // a Sleep, or 0: awake
  mutable std::atomic<bool> room_awaited_{false};
  std::atomic<bool> closed_{false};
  std::uint32_t seen_ = 0;  // consumer's: the signal it has acted on
  const std::size_t final_size_;
  const std::size_t layer_size_;
  std::vector<TapRecord> records_;
  std::vector<float> values_;
};

}  // namespace fieldprint
