#include "http/witness_server.h"

#include <chrono>
#include <utility>

#include "core/log.h"
#include "http/connection.h"
#include "http/listener.h"

namespace fieldprint {
namespace {

ListenerOptions listener_options(const WitnessServerOptions& options) {
  ListenerOptions out;
  out.host = options.host;
  out.port = options.port;
  out.max_connections = options.max_connections;
  out.limits = {.keep_alive = std::chrono::milliseconds(30'000),
                .read_timeout = std::chrono::milliseconds(10'000),
                .write_timeout = std::chrono::milliseconds(10'000),
                .request_bytes = kMaxWitnessRequest + (16U << 10)};
  out.refusal =
      "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
      "Content-Length: 0\r\n\r\n";
  return out;
}

void set_answer(httplib::Response& response, const WitnessAnswer& answer) {
  response.status = answer.status;
  response.set_content(answer.body, answer.content_type);
}

// The library would inflate a compressed body without a limit, and parse forms.
bool has_plain_body(const httplib::Request& request) {
  const std::string encoding = request.get_header_value("Content-Encoding");
  const std::string type = request.get_header_value("Content-Type");
  return (encoding.empty() || encoding == "identity") && !type.starts_with("multipart/") &&
         !type.starts_with("application/x-www-form-urlencoded");
}

class WitnessServerImpl final : public WitnessServer {
 public:
  WitnessServerImpl(const WitnessServerOptions& options, Witness& witness)
      : listener_(listener_options(options)) {
    listener_.set_payload_max_length(kMaxWitnessRequest);
    listener_.set_pre_routing_handler(
        [](const httplib::Request& request, httplib::Response& response) {
          if (has_plain_body(request)) return httplib::Server::HandlerResponse::Unhandled;
          set_answer(response, {415, "text/plain; charset=utf-8", "send the request as it is\n"});
          // The body is still on the wire and would be read as the next request.
          ConnectionContext::current().close_after_response = true;
          response.set_header("Connection", "close");
          return httplib::Server::HandlerResponse::Handled;
        });
    listener_.Post("/add-checkpoint",
                   [&witness](const httplib::Request& request, httplib::Response& response) {
                     set_answer(response, witness.add_checkpoint(request.body));
                   });
    listener_.set_exception_handler(
        [](const httplib::Request&, httplib::Response& response, const std::exception_ptr&) {
          log_error("a handler of the witness threw");
          response.status = 500;
        });
    listener_.set_logger([](const httplib::Request& request, const httplib::Response& response) {
      log_info("response",
               {{"method", request.method.substr(0, 16)},
                {"route",
                 std::string(request.path == "/add-checkpoint" ? "/add-checkpoint" : "unmatched")},
                {"status", std::int64_t{response.status}}});
    });
  }
  ~WitnessServerImpl() override { listener_.stop(); }

  Status listen() {
    FP_TRY(listener_.bind());
    listener_.start();
    return {};
  }
  std::int32_t port() const override { return listener_.port(); }

 private:
  Listener listener_;
};

}  // namespace

Result<std::unique_ptr<WitnessServer>> WitnessServer::start(const WitnessServerOptions& options,
                                                            Witness& witness) {
  auto server = std::make_unique<WitnessServerImpl>(options, witness);
  FP_TRY(server->listen());
  return server;
}

}  // namespace fieldprint
