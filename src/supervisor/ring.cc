#include "supervisor/ring.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "core/check.h"

namespace fieldprint {
namespace {

// std::atomic::wait has no time limit in C++20, hence the system call itself.
using FutexWord = std::atomic<std::uint32_t>;
static_assert(sizeof(FutexWord) == sizeof(std::uint32_t) && FutexWord::is_always_lock_free);

void futex_wait(FutexWord& word, std::uint32_t seen, std::chrono::microseconds at_most) {
  timespec limit{};
  limit.tv_sec = at_most.count() / 1'000'000;
  limit.tv_nsec = at_most.count() % 1'000'000 * 1000;
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, seen, at_most.count() == 0 ? nullptr : &limit,
          nullptr, 0);
}

void futex_wake(FutexWord& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

}  // namespace

std::int64_t tap_clock_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

TapRing::TapRing(std::size_t slots, std::size_t final_size, std::size_t layer_size)
    : final_size_(final_size),
      layer_size_(layer_size),
      records_(slots),
      values_(slots * (final_size + layer_size)) {
  FP_CHECK(slots > 0);
}

// Without room the wish is noted first and the head read again, and the consumer moves the head
// first and reads the wish afterwards (both sequentially consistent): one of them sees the other.
std::size_t TapRing::room() const {
  const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
  std::uint64_t used = tail - head_.load(std::memory_order_acquire);
  if (used == records_.size()) {
    room_awaited_.store(true);
    used = tail - head_.load();
  }
  return records_.size() - static_cast<std::size_t>(used);
}

bool TapRing::room_awaited() { return room_awaited_.load() && room_awaited_.exchange(false); }

TapRecord* TapRing::free_slot() {
  FP_CHECK(!closed_.load(std::memory_order_relaxed));
  if (room() == 0) return nullptr;
  return &records_[tail_.load(std::memory_order_relaxed) % records_.size()];
}

void TapRing::fill(TapRecord& record, TapKind kind, TapSource& source) {
  record.kind = kind;
  record.sequence = source.sequence;
  record.gap_before = std::exchange(source.untold_gap, 0);
  record.pushed_ns = tap_clock_ns();
}

// The store hands the slot's contents over. It comes before the look at the sleeper, who says that
// it sleeps before its last look at the ring: again one of the two sees the other.
void TapRing::publish(TapKind kind) {
  tail_.store(tail_.load(std::memory_order_relaxed) + 1);
  if (kind != TapKind::kState ||
      asleep_.load() == static_cast<std::uint8_t>(Sleep::kUntilAnyRecord)) {
    poke();
  }
}

void TapRing::poke() {
  signal_.fetch_add(1);
  if (asleep_.load() != 0) futex_wake(signal_);
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
  fill(*record, TapKind::kState, source);
  record->position = state.position;
  record->token = state.token;
  record->final = {values, final_size_};
  record->layer = {values + final_size_, state.layer.size()};
  publish(TapKind::kState);
  return PushResult::kTaken;
}

PushResult TapRing::push_control(TapKind kind, TapSource& source, const RollbackRecord& rollback) {
  TapRecord* record = free_slot();
  if (record == nullptr) return PushResult::kPause;
  *record = TapRecord{};
  record->rollback = rollback;
  fill(*record, kind, source);
  publish(kind);
  return PushResult::kTaken;
}

PushResult TapRing::push_end(TapSource& source) {
  return push_control(TapKind::kEnd, source, RollbackRecord{});
}

PushResult TapRing::push_rollback(TapSource& source, const RollbackRecord& rollback) {
  return push_control(TapKind::kRollback, source, rollback);
}

void TapRing::close() {
  closed_.store(true);
  poke();
}

const TapRecord* TapRing::poll() {
  const std::uint64_t head = head_.load(std::memory_order_relaxed);
  if (head == tail_.load()) return nullptr;
  return &records_[head % records_.size()];
}

const TapRecord* TapRing::wait() {
  for (;;) {
    const bool is_closed = closed();
    if (const TapRecord* record = poll()) return record;
    if (is_closed) return nullptr;
    sleep(Sleep::kUntilAnyRecord, std::chrono::microseconds(0));
  }
}

void TapRing::sleep(Sleep until, std::chrono::microseconds at_most) {
  asleep_.store(static_cast<std::uint8_t>(until));
  const bool due = until == Sleep::kUntilAnyRecord && poll() != nullptr;
  if (!due && signal_.load() == seen_) futex_wait(signal_, seen_, at_most);
  asleep_.store(0);
  seen_ = signal_.load();
}

void TapRing::release() {
  const std::uint64_t head = head_.load(std::memory_order_relaxed);
  FP_CHECK(head != tail_.load(std::memory_order_acquire));
  head_.store(head + 1);
}

}  // namespace fieldprint
