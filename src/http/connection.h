// One TCP connection: the byte stream the HTTP library reads and writes, with
// deadlines, a cap on request bytes and a check whether the peer is still there.
// The library's own stream has none of these.
//
// Thread rule: one thread, the connection's.
#pragma once

#include <httplib.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <string>

namespace fieldprint {

struct ConnectionLimits {
  std::chrono::milliseconds keep_alive{5'000};     // wait for a further request
  std::chrono::milliseconds read_timeout{30'000};  // one request, first byte to last
  std::chrono::milliseconds write_timeout{30'000};
  std::size_t request_bytes = 9U << 20;  // headers and body
  int max_requests = 1000;               // then the connection closes
};

class SocketStream final : public httplib::Stream {
 public:
  SocketStream(int socket, const ConnectionLimits& limits);

  // Waits for the first byte of a request. False: nothing came, or the peer left.
  bool wait_request(std::chrono::milliseconds timeout);
  // Starts the byte count and the read deadline of a request.
  void begin_request();
  // The peer closed its side or the connection broke.
  bool peer_left() const;

  bool is_readable() const override;
  bool is_writable() const override;  // false too when the peer left
  ssize_t read(char* data, std::size_t size) override;
  // Writes everything, or fails.
  ssize_t write(const char* data, std::size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  socket_t socket() const override { return socket_; }

 private:
  using Clock = std::chrono::steady_clock;

  int socket_;
  ConnectionLimits limits_;
  Clock::time_point read_deadline_;
  std::size_t request_bytes_ = 0;
  std::array<char, 16384> buffer_;
  std::size_t buffer_begin_ = 0;
  std::size_t buffer_end_ = 0;
};

// What handlers need to know of the connection they run on. The library passes
// them no such thing, but each connection has its own thread.
struct ConnectionContext {
  SocketStream* stream = nullptr;
  bool close_after_response = false;
  std::string request_id;
  std::chrono::steady_clock::time_point request_start;

  static ConnectionContext& current();  // this thread's
};

}  // namespace fieldprint
