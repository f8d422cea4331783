#include "http/listener.h"

#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "core/check.h"
#include "http/connection_queue.h"

namespace fieldprint {
namespace {

// The library's shared object was built with a backlog of 5.
constexpr int kBacklog = 1024;
// A socket closed with unread bytes resets the connection, and the client never
// sees the answer: read what is coming for a moment, but not for ever.
constexpr std::chrono::milliseconds kLingerTime{500};
constexpr std::size_t kLingerBytes = 1U << 20;

using Addresses = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

Result<Addresses> resolve(const std::string& host, int port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int code = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (code != 0 || list == nullptr) {
    return fail(ErrorKind::kInvalid, "address_invalid",
                "cannot listen on '" + host + "': " + ::gai_strerror(code), "host");
  }
  return Addresses(list, &::freeaddrinfo);
}

bool is_loopback_address(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(address);
    return (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
  }
  if (address->sa_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address);
    return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) != 0;
  }
  return false;
}

int port_of(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  FP_CHECK(::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  if (address.ss_family == AF_INET6) {
    return ntohs(reinterpret_cast<const sockaddr_in6*>(&address)->sin6_port);
  }
  return ntohs(reinterpret_cast<const sockaddr_in*>(&address)->sin_port);
}

// A bound, listening socket, or -1 with errno. Not SO_REUSEPORT, which the library
// sets: with it two servers would share a port without noticing.
int listen_on(const addrinfo& address) {
  const int fd =
      ::socket(address.ai_family, address.ai_socktype | SOCK_CLOEXEC, address.ai_protocol);
  if (fd < 0) return -1;
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (::bind(fd, address.ai_addr, address.ai_addrlen) == 0 && ::listen(fd, kBacklog) == 0) {
    return fd;
  }
  const int error = errno;
  ::close(fd);
  errno = error;
  return -1;
}

void linger(int socket) {
  ::shutdown(socket, SHUT_WR);
  const auto deadline = std::chrono::steady_clock::now() + kLingerTime;
  char waste[4096];
  std::size_t total = 0;
  while (total < kLingerBytes) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd entry{socket, POLLIN, 0};
    if (left.count() <= 0 || ::poll(&entry, 1, static_cast<int>(left.count())) <= 0) return;
    const ssize_t got = ::recv(socket, waste, sizeof(waste), MSG_DONTWAIT);
    if (got <= 0) return;
    total += static_cast<std::size_t>(got);
  }
}

}  // namespace

Result<bool> is_loopback(const std::string& host) {
  FP_ASSIGN(const Addresses addresses, resolve(host, 0));
  for (const addrinfo* at = addresses.get(); at != nullptr; at = at->ai_next) {
    if (!is_loopback_address(at->ai_addr)) return false;
  }
  return true;
}

Listener::Listener(ListenerOptions options) : options_(std::move(options)) {
  const int cap = options_.max_connections;
  new_task_queue = [cap]() -> httplib::TaskQueue* {
    if (cap == 0) return new httplib::ThreadPool(2);
    return new ConnectionQueue(cap);
  };
  const auto idle = std::chrono::ceil<std::chrono::seconds>(options_.limits.keep_alive);
  set_keep_alive_timeout(idle.count());
  set_keep_alive_max_count(static_cast<std::size_t>(options_.limits.max_requests));
}

Listener::~Listener() { stop(); }

Status Listener::bind() {
  FP_ASSIGN(const Addresses addresses, resolve(options_.host, options_.port));
  int error = 0;
  for (const addrinfo* at = addresses.get(); at != nullptr; at = at->ai_next) {
    const int fd = listen_on(*at);
    if (fd >= 0) {
      svr_sock_ = fd;
      port_ = port_of(fd);
      return {};
    }
    error = errno;
  }
  const std::string where = options_.host + ":" + std::to_string(options_.port);
  if (error == EADDRINUSE) {
    return fail(ErrorKind::kIo, "address_in_use",
                where + " is taken by another process; stop it or choose another port", "port");
  }
  return fail(ErrorKind::kIo, "bind_failed",
              "cannot listen on " + where + ": " + std::strerror(error), "host");
}

void Listener::start() {
  FP_CHECK(svr_sock_ != INVALID_SOCKET);
  thread_ = std::thread([this] {
    listen_after_bind();
    ended_ = true;
  });
  // The library's stop() does nothing before the loop runs.
  while (!is_running() && !ended_) std::this_thread::yield();
}

void Listener::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const int socket : sockets_) ::shutdown(socket, SHUT_RDWR);
  }
  if (thread_.joinable()) {
    httplib::Server::stop();
    thread_.join();
  } else if (svr_sock_ != INVALID_SOCKET) {
    ::close(svr_sock_.exchange(INVALID_SOCKET));
  }
}

bool Listener::enter(int socket) {
  const std::lock_guard lock(mutex_);
  if (stopping_) return false;
  sockets_.insert(socket);
  if (options_.open != nullptr) options_.open->add(1);
  return true;
}

void Listener::leave(int socket) {
  const std::lock_guard lock(mutex_);
  sockets_.erase(socket);
  if (options_.open != nullptr) options_.open->add(-1);
}

void Listener::refuse(int socket) {
  ::send(socket, options_.refusal.data(), options_.refusal.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  linger(socket);
}

void Listener::serve(int socket) {
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  SocketStream stream(socket, options_.limits);
  ConnectionContext& context = ConnectionContext::current();
  for (int served = 0; served < options_.limits.max_requests; ++served) {
    const auto wait = served == 0 ? options_.limits.read_timeout : options_.limits.keep_alive;
    if (!stream.wait_request(wait)) break;
    stream.begin_request();
    context = ConnectionContext{&stream, false, {}, std::chrono::steady_clock::now()};
    bool closed = false;
    const bool last = served + 1 == options_.limits.max_requests;
    // Answers are never cut into ranges (the library would, thousands of times over).
    const auto drop_ranges = [](httplib::Request& request) { request.ranges.clear(); };
    const bool good = process_request(stream, last, closed, drop_ranges);
    if (context.close_after_response) linger(socket);
    if (!good || closed || context.close_after_response) break;
  }
  context = ConnectionContext{};
}

bool Listener::process_and_close_socket(socket_t socket) {
  const Admission admission = current_admission();
  if (admission != Admission::kServe && options_.refused != nullptr) options_.refused->add();
  if (admission != Admission::kDrop && enter(socket)) {
    if (admission == Admission::kServe) {
      serve(socket);
    } else {
      refuse(socket);
    }
    leave(socket);
  }
  ::shutdown(socket, SHUT_RDWR);
  ::close(socket);
  return true;
}

}  // namespace fieldprint
