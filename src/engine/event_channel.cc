#include "engine/event_channel.h"

#include <utility>

#include "core/check.h"

namespace fieldprint {

void Waker::notify() {
  {
    const std::lock_guard lock(mutex_);
    signalled_ = true;
  }
  condition_.notify_one();
}

void Waker::wait(std::optional<std::chrono::steady_clock::time_point> deadline) {
  std::unique_lock lock(mutex_);
  const auto ready = [this] { return signalled_; };
  if (deadline) {
    condition_.wait_until(lock, *deadline, ready);
  } else {
    condition_.wait(lock, ready);
  }
  signalled_ = false;
}

EventChannel::EventChannel(std::size_t capacity, std::shared_ptr<Waker> waker)
    : capacity_(capacity), waker_(std::move(waker)) {
  FP_CHECK(capacity_ >= 1);
}

bool EventChannel::has_room() const {
  const std::lock_guard lock(mutex_);
  return events_.size() < capacity_;
}

void EventChannel::push(GenerationEvent event) {
  {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
  }
  condition_.notify_one();
}

std::optional<GenerationEvent> EventChannel::pop(std::chrono::milliseconds timeout) {
  bool made_room = false;
  std::optional<GenerationEvent> event;
  {
    std::unique_lock lock(mutex_);
    if (events_.empty()) {
      if (timeout <= timeout.zero()) return event;  // polling costs no system call
      if (!condition_.wait_for(lock, timeout, [this] { return !events_.empty(); })) return event;
    }
    made_room = events_.size() == capacity_;
    event = std::move(events_.front());
    events_.pop_front();
  }
  if (made_room) waker_->notify();
  return event;
}

void EventChannel::cancel() {
  cancelled_.store(true, std::memory_order_relaxed);
  waker_->notify();
}

}  // namespace fieldprint
