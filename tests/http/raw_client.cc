#include "http/raw_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <sstream>

namespace fieldprint::testing_http {

RawClient::RawClient(int port) {
  socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    close();
  }
}

RawClient::~RawClient() { close(); }

void RawClient::close() {
  if (socket_ >= 0) ::close(socket_);
  socket_ = -1;
}

void RawClient::send(const std::string& bytes) {
  std::size_t sent = 0;
  while (sent < bytes.size()) {
    const ssize_t count = ::send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (count <= 0) return;
    sent += static_cast<std::size_t>(count);
  }
}

const std::string& RawClient::read_until(const std::string& text) {
  constexpr int kPatienceMs = 10'000;
  char buffer[65536];
  while (!at_end_ && (text.empty() || seen_.find(text) == std::string::npos)) {
    pollfd entry{socket_, POLLIN, 0};
    if (::poll(&entry, 1, kPatienceMs) <= 0) break;
    const ssize_t count = ::recv(socket_, buffer, sizeof(buffer), 0);
    if (count <= 0) {
      at_end_ = true;
    } else {
      seen_.append(buffer, static_cast<std::size_t>(count));
    }
  }
  return seen_;
}

namespace {

std::string joined_chunks(const std::string& bytes) {
  std::string out;
  std::size_t at = 0;
  for (;;) {
    const std::size_t end = bytes.find("\r\n", at);
    if (end == std::string::npos) return out;
    const std::size_t size = std::stoul(bytes.substr(at, end - at), nullptr, 16);
    if (size == 0) return out;
    out += bytes.substr(end + 2, size);
    at = end + 2 + size + 2;
    if (at >= bytes.size()) return out;
  }
}

}  // namespace

Reply parse_reply(const std::string& bytes) {
  Reply reply;
  const std::size_t head_end = bytes.find("\r\n\r\n");
  if (head_end == std::string::npos) return reply;
  std::istringstream head(bytes.substr(0, head_end));
  std::string version;
  head >> version >> reply.status;
  std::string line;
  std::getline(head, line);
  while (std::getline(head, line)) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    const std::size_t colon = line.find(": ");
    if (colon == std::string::npos) continue;
    std::string name = line.substr(0, colon);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    reply.headers[name] = line.substr(colon + 2);
  }
  reply.body = bytes.substr(head_end + 4);
  if (reply.headers["transfer-encoding"] == "chunked") reply.body = joined_chunks(reply.body);
  return reply;
}

std::string request_bytes(const std::string& method, const std::string& path,
                          const std::string& body, const ExtraHeaders& headers) {
  ExtraHeaders all = {{"Host", "localhost"}, {"Connection", "close"}};
  if (method == "POST") {
    all["Content-Type"] = "application/json";
    all["Content-Length"] = std::to_string(body.size());
  }
  for (const auto& [name, value] : headers) all[name] = value;
  std::string out = method + " " + path + " HTTP/1.1\r\n";
  for (const auto& [name, value] : all) {
    if (!value.empty()) out += name + ": " + value + "\r\n";
  }
  return out + "\r\n" + body;
}

Reply get(int port, const std::string& path, const ExtraHeaders& headers) {
  RawClient client(port);
  client.send(request_bytes("GET", path, "", headers));
  return parse_reply(client.read_to_end());
}

Reply post(int port, const std::string& path, const std::string& body,
           const ExtraHeaders& headers) {
  RawClient client(port);
  client.send(request_bytes("POST", path, body, headers));
  return parse_reply(client.read_to_end());
}

}  // namespace fieldprint::testing_http
