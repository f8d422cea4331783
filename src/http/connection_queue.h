// Threads for connections: one each, up to a cap. Beyond the cap one thread
// answers the refusals, and beyond its queue connections are dropped at once, so
// that the accept loop never waits for anybody.
#pragma once

#include <httplib.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace fieldprint {

// How the connection of the job that this thread runs is to be treated.
enum class Admission : std::uint8_t { kServe, kRefuse, kDrop };
Admission current_admission();

class ConnectionQueue final : public httplib::TaskQueue {
 public:
  explicit ConnectionQueue(int max_threads);
  ~ConnectionQueue() override;
  void enqueue(std::function<void()> job) override;
  void shutdown() override;  // waits for all jobs

 private:
  bool start_thread(std::function<void()>& job);
  void refuse_loop();

  static constexpr std::size_t kMaxRefusals = 64;

  const int max_threads_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int threads_ = 0;
  std::deque<std::function<void()>> refusals_;
  bool stopping_ = false;
  std::thread refuser_;
};

}  // namespace fieldprint
