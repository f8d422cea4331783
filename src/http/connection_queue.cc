#include "http/connection_queue.h"

#include <system_error>
#include <utility>

namespace fieldprint {
namespace {

thread_local Admission admission = Admission::kServe;

void run_as(Admission as, const std::function<void()>& job) {
  admission = as;
  job();
  admission = Admission::kServe;
}

}  // namespace

Admission current_admission() { return admission; }

ConnectionQueue::ConnectionQueue(int max_threads)
    : max_threads_(max_threads), refuser_([this] { refuse_loop(); }) {}

ConnectionQueue::~ConnectionQueue() { shutdown(); }

// Takes the job only when it succeeds. A failed thread start counts as "full".
bool ConnectionQueue::start_thread(std::function<void()>& job) {
  const std::lock_guard lock(mutex_);
  if (threads_ >= max_threads_) return false;
  auto shared = std::make_shared<std::function<void()>>(job);
  try {
    std::thread([this, shared = std::move(shared)]() mutable {
      run_as(Admission::kServe, *shared);
      shared.reset();
      // Notified under the lock: shutdown() may return, and this object die, as
      // soon as it is released.
      const std::lock_guard done(mutex_);
      --threads_;
      changed_.notify_all();
    }).detach();
  } catch (const std::system_error&) {
    return false;
  }
  ++threads_;
  return true;
}

void ConnectionQueue::enqueue(std::function<void()> job) {
  if (start_thread(job)) return;
  {
    const std::lock_guard lock(mutex_);
    if (refusals_.size() < kMaxRefusals) {
      refusals_.push_back(std::move(job));
      changed_.notify_all();
      return;
    }
  }
  run_as(Admission::kDrop, job);
}

void ConnectionQueue::refuse_loop() {
  for (;;) {
    std::function<void()> job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !refusals_.empty(); });
      if (refusals_.empty()) return;
      job = std::move(refusals_.front());
      refusals_.pop_front();
    }
    run_as(Admission::kRefuse, job);
  }
}

void ConnectionQueue::shutdown() {
  {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return threads_ == 0; });
  }
  if (refuser_.joinable()) refuser_.join();
}

}  // namespace fieldprint
