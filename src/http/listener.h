// A listening socket and its connections on top of the HTTP library, with what
// version 0.11.4 lacks: a thread per connection under a hard cap, a 503 beyond it,
// a deep accept queue, connections that end when the listener stops.
//
// Thread rule: start() and stop() from one thread; routes are set before start().
#pragma once

#include <httplib.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "core/error.h"
#include "core/metrics.h"
#include "http/connection.h"

namespace fieldprint {

struct ListenerOptions {
  std::string host;
  int port = 0;             // 0: any free port
  int max_connections = 0;  // a thread each; 0: a fixed pool of two threads instead
  ConnectionLimits limits;
  std::string refusal;         // whole HTTP response for connections over the cap
  Gauge* open = nullptr;       // connections now
  Counter* refused = nullptr;  // connections over the cap
};

class Listener final : public httplib::Server {
 public:
  explicit Listener(ListenerOptions options);
  ~Listener() override;

  // Errors: address_invalid, address_in_use, bind_failed.
  Status bind();
  void start();  // after bind(); answers from here on
  void stop();   // idempotent; returns when every connection thread is gone
  int port() const { return port_; }

 private:
  bool process_and_close_socket(socket_t socket) override;
  void serve(int socket);
  void refuse(int socket);
  bool enter(int socket);  // false: stopping
  void leave(int socket);

  ListenerOptions options_;
  int port_ = 0;
  std::thread thread_;
  std::atomic<bool> ended_{false};  // the accept loop has returned
  std::mutex mutex_;
  std::set<int> sockets_;  // open connections, to wake their threads at stop()
  bool stopping_ = false;
};

// Whether every address that `host` resolves to is a loopback address.
// Errors: address_invalid.
Result<bool> is_loopback(const std::string& host);

}  // namespace fieldprint
