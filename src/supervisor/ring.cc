#include "supervisor/ring.h"

#include <algorithm>
#include <utility>

#include "core/check.h"

namespace fieldprint {

TapRing::TapRing(std::size_t slots, std::size_t final_size, std::size_t layer_size)
    : final_size_(final_size),
      layer_size_(layer_size),
      records_(slots),
      values_(slots * (final_size + layer_size)) {
  FP_CHECK(slots > 0);
}

std::size_t TapRing::room() const {
  const std::uint64_t used =
      tail_.load(std::memory_order_relaxed) - head_.load(std::memory_order_acquire);
  return records_.size() - static_cast<std::size_t>(used);
}

TapRecord* TapRing::free_slot() {
  FP_CHECK(!closed_.load(std::memory_order_relaxed));
  if (room() == 0) return nullptr;
  return &records_[tail_.load(std::memory_order_relaxed) % records_.size()];
}

// The release store hands the slot's contents over; the signal only wakes. notify_one() is a
// system call when somebody waits and a load otherwise; it never waits itself.
void TapRing::publish() {
  tail_.store(tail_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  signal_.fetch_add(1, std::memory_order_release);
  signal_.notify_one();
}

PushResult TapRing::push(TapSource& source, const TapState& state) {
  FP_CHECK(state.final.size() == final_size_);
  FP_CHECK(state.layer.empty() || state.layer.size() == layer_size_);
  TapRecord* record = free_slot();
  if (record == nullptr) {
    if (source.policy == OverflowPolicy::kStrict) return PushResult::kPause;
    ++source.untold_gap;
    ++source.total_gap;
    return PushResult::kGap;
  }
  const auto slot = static_cast<std::size_t>(record - records_.data());
  float* values = values_.data() + slot * (final_size_ + layer_size_);
  std::ranges::copy(state.final, values);
  std::ranges::copy(state.layer, values + final_size_);
  record->kind = TapKind::kState;
  record->sequence = source.sequence;
  record->position = state.position;
  record->token = state.token;
  record->gap_before = std::exchange(source.untold_gap, 0);
  record->final = {values, final_size_};
  record->layer = {values + final_size_, state.layer.size()};
  publish();
  return PushResult::kTaken;
}

PushResult TapRing::push_end(TapSource& source) {
  TapRecord* record = free_slot();
  if (record == nullptr) return PushResult::kPause;
  *record = TapRecord{};
  record->kind = TapKind::kEnd;
  record->sequence = source.sequence;
  record->gap_before = std::exchange(source.untold_gap, 0);
  publish();
  return PushResult::kTaken;
}

void TapRing::close() {
  closed_.store(true, std::memory_order_release);
  signal_.fetch_add(1, std::memory_order_release);
  signal_.notify_one();
}

const TapRecord* TapRing::poll() {
  const std::uint64_t head = head_.load(std::memory_order_relaxed);
  if (head == tail_.load(std::memory_order_acquire)) return nullptr;
  return &records_[head % records_.size()];
}

const TapRecord* TapRing::wait() {
  for (;;) {
    // Read the signal first: a record published after the look at the ring changes it, so the
    // wait below returns at once.
    const std::uint32_t seen = signal_.load(std::memory_order_acquire);
    const bool closed = closed_.load(std::memory_order_acquire);
    if (const TapRecord* record = poll()) return record;
    if (closed) return nullptr;
    signal_.wait(seen, std::memory_order_acquire);
  }
}

void TapRing::release() {
  const std::uint64_t head = head_.load(std::memory_order_relaxed);
  FP_CHECK(head != tail_.load(std::memory_order_acquire));
  head_.store(head + 1, std::memory_order_release);
}

}  // namespace fieldprint
