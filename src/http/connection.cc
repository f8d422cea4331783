#include "http/connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace fieldprint {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

milliseconds until(Clock::time_point deadline) {
  const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
  return std::max(left, milliseconds(0));
}

// Waits until one of `events` (or an error) is there; returns poll's revents, 0 on timeout.
short wait_for(int socket, short events, milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  for (;;) {
    pollfd entry{socket, events, 0};
    const auto left = std::min<std::chrono::milliseconds::rep>(until(deadline).count(), 1 << 30);
    const int ready = ::poll(&entry, 1, static_cast<int>(left));
    if (ready > 0) return entry.revents;
    if (ready == 0) return 0;
    if (errno != EINTR) return POLLERR;
  }
}

void name_of(const sockaddr_storage& address, socklen_t size, std::string& ip, int& port) {
  char host[NI_MAXHOST];
  if (::getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, host, sizeof(host), nullptr,
                    0, NI_NUMERICHOST) != 0) {
    return;
  }
  ip = host;
  port = address.ss_family == AF_INET6
             ? ntohs(reinterpret_cast<const sockaddr_in6*>(&address)->sin6_port)
             : ntohs(reinterpret_cast<const sockaddr_in*>(&address)->sin_port);
}

}  // namespace

ConnectionContext& ConnectionContext::current() {
  thread_local ConnectionContext context;
  return context;
}

SocketStream::SocketStream(int socket, const ConnectionLimits& limits)
    : socket_(socket), limits_(limits) {
  begin_request();
}

bool SocketStream::wait_request(milliseconds timeout) {
  if (buffer_begin_ < buffer_end_) return true;  // pipelined
  const short events = wait_for(socket_, POLLIN | POLLRDHUP, timeout);
  return (events & POLLIN) != 0 && (events & (POLLERR | POLLNVAL)) == 0;
}

void SocketStream::begin_request() {
  request_bytes_ = 0;
  read_deadline_ = Clock::now() + limits_.read_timeout;
}

bool SocketStream::peer_left() const { return wait_for(socket_, POLLRDHUP, milliseconds(0)) != 0; }

bool SocketStream::is_readable() const {
  if (buffer_begin_ < buffer_end_) return true;
  return (wait_for(socket_, POLLIN, until(read_deadline_)) & POLLIN) != 0;
}

bool SocketStream::is_writable() const {
  const short events = wait_for(socket_, POLLOUT | POLLRDHUP, limits_.write_timeout);
  return events == POLLOUT;
}

ssize_t SocketStream::read(char* data, std::size_t size) {
  if (buffer_begin_ == buffer_end_) {
    if (request_bytes_ >= limits_.request_bytes || !is_readable()) return -1;
    ssize_t got = 0;
    do {
      got = ::recv(socket_, buffer_.data(), buffer_.size(), 0);
    } while (got < 0 && errno == EINTR);
    if (got <= 0) return got;
    buffer_begin_ = 0;
    buffer_end_ = static_cast<std::size_t>(got);
    request_bytes_ += static_cast<std::size_t>(got);
  }
  const std::size_t count = std::min(size, buffer_end_ - buffer_begin_);
  std::memcpy(data, buffer_.data() + buffer_begin_, count);
  buffer_begin_ += count;
  return static_cast<ssize_t>(count);
}

ssize_t SocketStream::write(const char* data, std::size_t size) {
  std::size_t written = 0;
  while (written < size) {
    const ssize_t sent =
        ::send(socket_, data + written, size - written, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      written += static_cast<std::size_t>(sent);
    } else if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      if ((wait_for(socket_, POLLOUT, limits_.write_timeout) & POLLOUT) == 0) return -1;
    } else if (sent < 0 && errno != EINTR) {
      return -1;
    }
  }
  return static_cast<ssize_t>(size);
}

void SocketStream::get_remote_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getpeername(socket_, reinterpret_cast<sockaddr*>(&address), &size) == 0) {
    name_of(address, size, ip, port);
  }
}

void SocketStream::get_local_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) == 0) {
    name_of(address, size, ip, port);
  }
}

}  // namespace fieldprint
