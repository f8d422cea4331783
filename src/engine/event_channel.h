// The bounded queue between the engine and the consumer of one generation.
//
// The engine never waits for a consumer: it stops scheduling a request while the
// request's channel has no room, and pushes without blocking otherwise. One step adds
// at most 2 * choices + 1 events, so a channel holds at most capacity + 2 * choices + 1.
//
// Thread rule: has_room() and push() from the engine's thread; pop() and cancel()
// from the consumer's; everything is internally synchronised.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>

#include "engine/request.h"

namespace fieldprint {

// Wakes the engine's thread. Shared, because a handle may outlive its engine.
class Waker {
 public:
  void notify();
  // Returns at the next notify(), at once if one came since the last wait, or at
  // `deadline`.
  void wait(std::optional<std::chrono::steady_clock::time_point> deadline);

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  bool signalled_ = false;
};

class EventChannel {
 public:
  // capacity >= 1: undelivered events at which the request is paused.
  EventChannel(std::size_t capacity, std::shared_ptr<Waker> waker);

  // Engine side.
  bool has_room() const;
  void push(GenerationEvent event);
  bool cancel_requested() const { return cancelled_.load(std::memory_order_relaxed); }

  // Consumer side. Waits up to `timeout`; nullopt if nothing came.
  std::optional<GenerationEvent> pop(std::chrono::milliseconds timeout);
  void cancel();

 private:
  const std::size_t capacity_;
  const std::shared_ptr<Waker> waker_;
  std::atomic<bool> cancelled_{false};
  mutable std::mutex mutex_;
  std::condition_variable condition_;
  std::deque<GenerationEvent> events_;
};

}  // namespace fieldprint
