// The way of hidden states from the engine thread to one worker: a bounded ring of slots.
//
// The producer never waits, never allocates and takes no lock. When no slot is free it learns so
// at once and the policy of that sequence decides:
//   strict      the state is not taken; pause the sequence and offer the same state later.
//               room() tells beforehand, so that the step need not be computed in vain.
//   optimistic  the state is lost and counted; the next record of that sequence says how many
//               are missing before it, so a gap can be stated but never overlooked.
// The end of a sequence is a record too, and is never lost under either policy: offer it again
// until it is taken. It carries the gap that no state came after.
//
// Thread rule: one producer thread, one consumer thread. Several workers have a ring each, and a
// sequence stays with one worker, so that its states arrive in order.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace fieldprint {

enum class OverflowPolicy : std::uint8_t { kStrict, kOptimistic };

// What became of a record: taken; not taken, offer it again; lost and counted.
enum class PushResult : std::uint8_t { kTaken, kPause, kGap };

enum class TapKind : std::uint8_t { kState, kEnd };

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
};

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
  // No record comes after this; a waiting consumer wakes up. Idempotent.
  void close();

  // Consumer. The oldest record; nullptr when there is none (poll), or when the ring is closed
  // and empty (wait). release() gives its slot back; call it once for each record.
  const TapRecord* poll();
  const TapRecord* wait();
  void release();

 private:
  TapRecord* free_slot();
  void publish();

  // The indices count records since the beginning; slot = index % slots. Each on a cache line
  // of its own, or the two threads would pull one line back and forth.
  static constexpr std::size_t kLine = 64;
  alignas(kLine) std::atomic<std::uint64_t> head_{0};    // written by the consumer
  alignas(kLine) std::atomic<std::uint64_t> tail_{0};    // written by the producer
  alignas(kLine) std::atomic<std::uint32_t> signal_{0};  // changes when a waiter should look
  std::atomic<bool> closed_{false};
  const std::size_t final_size_;
  const std::size_t layer_size_;
  std::vector<TapRecord> records_;
  std::vector<float> values_;
};

}  // namespace fieldprint
