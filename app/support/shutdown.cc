#include "app/support/shutdown.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "core/log.h"

namespace fieldprint::app {
namespace {

sigset_t watched_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

ShutdownSignals::ShutdownSignals() {
  const sigset_t set = watched_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);  // a client that left is an error of its write, not of ours
  watcher_ = std::thread([this] { watch(); });
}

ShutdownSignals::~ShutdownSignals() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    finished_ = true;
  }
  watcher_.join();
}

void ShutdownSignals::begin_service() {
  const std::lock_guard<std::mutex> lock(mutex_);
  serving_ = true;
}

bool ShutdownSignals::wait_for(std::chrono::milliseconds time) {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, time, [this] { return signalled_; });
}

void ShutdownSignals::watch() {
  const sigset_t set = watched_signals();
  constexpr timespec kPoll{0, 200'000'000};  // how soon the destructor is noticed
  while (true) {
    const int got = sigtimedwait(&set, nullptr, &kPoll);
    const std::lock_guard<std::mutex> lock(mutex_);
    if (finished_) return;
    if (got <= 0) continue;
    if (!serving_) {
      log_info("stopped while loading");
      _exit(0);
    }
    if (signalled_) {
      log_warn("second signal: leaving at once");
      _exit(130);
    }
    signalled_ = true;
    changed_.notify_all();
  }
}

void notify_service_manager(const char* state) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path == nullptr || std::strlen(path) >= sizeof address.sun_path) return;
  std::memcpy(address.sun_path, path, std::strlen(path));
  if (address.sun_path[0] == '@') address.sun_path[0] = 0;  // the abstract name space
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(path));
  sendto(fd, state, std::strlen(state), MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&address),
         length);
  close(fd);
}

}  // namespace fieldprint::app
