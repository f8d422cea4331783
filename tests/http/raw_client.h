// A plain HTTP client over loopback sockets: sees the bytes as they come.
#pragma once

#include <map>
#include <string>

namespace fieldprint::testing_http {

class RawClient {
 public:
  explicit RawClient(int port);
  ~RawClient();
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  bool connected() const { return socket_ >= 0; }
  void send(const std::string& bytes);
  // Reads until `text` has been seen, the peer closes or ten seconds pass; returns
  // everything read so far by this client.
  const std::string& read_until(const std::string& text);
  const std::string& read_to_end() { return read_until(std::string()); }
  bool at_end() const { return at_end_; }  // the peer has closed
  void close();

 private:
  int socket_ = -1;
  bool at_end_ = false;
  std::string seen_;
};

struct Reply {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // chunks joined
};
Reply parse_reply(const std::string& bytes);

using ExtraHeaders = std::map<std::string, std::string>;
std::string request_bytes(const std::string& method, const std::string& path,
                          const std::string& body, const ExtraHeaders& headers = {});
Reply get(int port, const std::string& path, const ExtraHeaders& headers = {});
Reply post(int port, const std::string& path, const std::string& body,
           const ExtraHeaders& headers = {});

}  // namespace fieldprint::testing_http
