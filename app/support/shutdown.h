// SIGTERM and SIGINT of a server, taken by a thread of their own.
//
// Make the object before any other thread: it blocks both signals, and threads inherit that.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace fieldprint::app {

class ShutdownSignals {
 public:
  ShutdownSignals();
  ~ShutdownSignals();
  ShutdownSignals(const ShutdownSignals&) = delete;
  ShutdownSignals& operator=(const ShutdownSignals&) = delete;

  // Until this is called the first signal ends the process with 0: nothing is in flight.
  // After it the first signal is reported by wait_for(), the second exits at once with 130.
  void begin_service();
  // Waits for the first signal. True when it has come.
  bool wait_for(std::chrono::milliseconds time);

 private:
  void watch();

  std::mutex mutex_;
  std::condition_variable changed_;
  bool serving_ = false;
  bool signalled_ = false;
  bool finished_ = false;
  std::thread watcher_;
};

// Tells systemd ("READY=1", "STOPPING=1", "STATUS=..."); does nothing without $NOTIFY_SOCKET.
void notify_service_manager(const char* state);

}  // namespace fieldprint::app
