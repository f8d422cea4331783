#include "http/witness_transport.h"

#include <httplib.h>

#include <exception>
#include <string>

namespace fieldprint {
namespace {

constexpr std::size_t kMaxAnswer = 64U << 10;

struct UrlParts {
  std::string server;  // scheme, host, port
  std::string path;
};

Result<UrlParts> split_url(const std::string& url) {
  const bool known = url.starts_with("http://") || url.starts_with("https://");
  const std::size_t host = url.find("://") + 3;
  if (!known || url.size() <= host || url[host] == '/' ||
      url.find_first_of(" \t\r\n#") < url.size())
    return fail(ErrorKind::kInvalid, "witness_url",
                "'" + url.substr(0, 200) + "' is no http:// or https:// URL");
  const std::size_t slash = url.find('/', host);
  if (slash == std::string::npos) return UrlParts{url, "/"};
  return UrlParts{url.substr(0, slash), url.substr(slash)};
}

tl::unexpected<Error> unreachable(const std::string& url, const std::string& reason) {
  return fail(ErrorKind::kUnavailable, "witness_unreachable", url + ": " + reason);
}

class HttpTransport final : public WitnessTransport {
 public:
  explicit HttpTransport(const WitnessTransportOptions& options) : options_(options) {}

  Result<WitnessReply> post(const std::string& url, std::string_view body) override {
    FP_ASSIGN(const UrlParts parts, split_url(url));
    try {
      return send(url, parts, body);
    } catch (const std::exception& error) {  // the library throws for what it cannot do
      return unreachable(url, error.what());
    }
  }

 private:
  Result<WitnessReply> send(const std::string& url, const UrlParts& parts, std::string_view body) {
    httplib::Client client(parts.server);
    client.set_connection_timeout(options_.connect_timeout);
    client.set_read_timeout(options_.answer_timeout);
    client.set_write_timeout(options_.answer_timeout);
    client.set_follow_location(false);
    client.set_keep_alive(false);
    client.set_decompress(false);
    WitnessReply reply;
    bool too_large = false;
    httplib::Request request;
    request.method = "POST";
    request.path = parts.path;
    request.body = std::string(body);
    request.headers = {{"Content-Type", "text/plain; charset=utf-8"}};
    request.content_receiver = [&](const char* data, std::size_t size, std::uint64_t,
                                   std::uint64_t) {
      too_large = reply.body.size() + size > kMaxAnswer;
      if (!too_large) reply.body.append(data, size);
      return !too_large;
    };
    const httplib::Result result = client.send(request);
    if (too_large)
      return fail(ErrorKind::kTooLarge, "witness_answer_too_large",
                  url + ": answered more than 64 KiB");
    if (!result) return unreachable(url, httplib::to_string(result.error()));
    reply.status = result->status;
    reply.content_type = result->get_header_value("Content-Type");
    return reply;
  }

  WitnessTransportOptions options_;
};

}  // namespace

std::shared_ptr<WitnessTransport> make_witness_transport(const WitnessTransportOptions& options) {
  return std::make_shared<HttpTransport>(options);
}

}  // namespace fieldprint
