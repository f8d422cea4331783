#include "http/server.h"

#include <utility>

#include "api/response.h"
#include "core/check.h"
#include "core/log.h"
#include "http/auth.h"
#include "http/gate.h"
#include "http/listener.h"
#include "http/routes.h"
#include "http/state.h"

namespace fieldprint {
namespace {

using std::chrono::milliseconds;

// Headers may come on top of the largest body.
constexpr std::size_t kHeaderBytes = 64U << 10;
// After the engine has drained, the last frames are still to be written.
constexpr milliseconds kFlushTime{5'000};

tl::unexpected<Error> invalid_option(const char* name, const std::string& rule) {
  return fail(ErrorKind::kInvalid, "invalid_option", std::string(name) + " " + rule, name);
}

Status check_options(const ServerOptions& options) {
  const auto port_ok = [](std::int32_t port) { return port >= 0 && port <= 65535; };
  if (!port_ok(options.port)) return invalid_option("port", "must be 0 to 65535");
  if (!port_ok(options.ops_port)) return invalid_option("ops_port", "must be 0 to 65535");
  if (options.max_streams < 1) return invalid_option("max_streams", "must be at least 1");
  if (options.max_connections <= options.max_streams) {
    return invalid_option("max_connections", "must be greater than max_streams");
  }
  if (options.max_body_bytes < 1024) return invalid_option("max_body_bytes", "must be over 1023");
  for (const milliseconds time :
       {options.request_deadline, options.ping_interval, options.keep_alive, options.read_timeout,
        options.write_timeout}) {
    if (time.count() <= 0) return invalid_option("timeout", "must be positive");
  }
  for (const std::string& key : options.api_keys) FP_TRY(check_api_key(key));
  return {};
}

// Errors: bind_needs_api_key. True: host is loopback only.
Result<bool> check_bind(const ServerOptions& options, const std::string& host) {
  FP_ASSIGN(const bool loopback, is_loopback(host));
  if (loopback || !options.api_keys.empty()) return loopback;
  return fail(ErrorKind::kForbidden, "bind_needs_api_key",
              "listening on '" + host +
                  "' reaches beyond this machine and needs an API key; set one with "
                  "FIELDPRINT_API_KEY or --api-key-file, or listen on 127.0.0.1",
              "host");
}

// Connections over the cap get this without a thread of their own.
std::string refusal_response() {
  const std::string body =
      print_error({ErrorKind::kUnavailable, "too_many_connections",
                   "all connections of this server are in use; try again shortly", ""});
  return "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
         "Retry-After: 1\r\nConnection: close\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + body;
}

ListenerOptions main_listener(const ServerState& state) {
  const ServerOptions& options = state.options;
  ListenerOptions out;
  out.host = options.host;
  out.port = options.port;
  out.max_connections = options.max_connections;
  out.limits.keep_alive = options.keep_alive;
  out.limits.read_timeout = options.read_timeout;
  out.limits.write_timeout = options.write_timeout;
  out.limits.request_bytes = options.max_body_bytes + kHeaderBytes;
  out.refusal = refusal_response();
  out.open = &state.metrics.connections;
  out.refused = &state.metrics.connections_refused;
  return out;
}

// Two threads and short patience: a probe that hangs must not block the next.
ListenerOptions ops_listener(const ServerState& state) {
  ListenerOptions out;
  out.host = state.options.ops_host;
  out.port = state.options.ops_port;
  out.max_connections = 0;
  out.limits = {.keep_alive = milliseconds(1000),
                .read_timeout = milliseconds(2000),
                .write_timeout = milliseconds(2000),
                .request_bytes = kHeaderBytes,
                .max_requests = 1};
  return out;
}

class ServerImpl final : public Server {
 public:
  ServerImpl(ServerOptions options, HostRule hosts)
      : state_(std::move(options), hosts),
        main_(main_listener(state_)),
        ops_(ops_listener(state_)) {
    main_.set_payload_max_length(state_.options.max_body_bytes);
    install_gate(main_, state_);
    install_generation_routes(main_, state_);
    install_info_routes(main_, state_);
    install_trust_routes(main_, state_);
    install_session_routes(main_, state_);
    install_log_routes(main_, state_);
    install_probe_routes(main_, state_);
    ops_.set_payload_max_length(1024);
    install_gate(ops_, state_);
    install_probe_routes(ops_, state_);
  }
  ~ServerImpl() override { stop(); }

  Status listen() {
    FP_TRY(main_.bind());
    if (state_.options.ops == OpsListener::kOn) FP_TRY(ops_.bind());
    main_.start();
    if (state_.options.ops == OpsListener::kOn) ops_.start();
    log_info("listening",
             {{"host", state_.options.host},
              {"port", std::int64_t{port()}},
              {"ops_port", std::int64_t{ops_port()}},
              {"api_keys", static_cast<std::int64_t>(state_.options.api_keys.size())}});
    return {};
  }

  void set_loading_progress(int percent) override {
    state_.loading_percent = percent < 0 ? 0 : (percent > 100 ? 100 : percent);
  }

  void set_ready(ServiceContext service) override {
    FP_CHECK(!state_.has_service);
    FP_CHECK(service.engine != nullptr && service.text != nullptr && !service.model_id.empty());
    constexpr std::size_t kShortDigest = 12;
    std::string digest = service.model_digest;
    digest.erase(0, digest.find(':') + 1);
    state_.system_fingerprint =
        "fieldprint-" + state_.options.build_version + "-" + digest.substr(0, kShortDigest);
    state_.service = std::move(service);
    state_.loading_percent = 100;
    state_.has_service.store(true, std::memory_order_release);
    // A server told to drain while it was loading stays that way.
    Phase loading = Phase::kLoading;
    state_.phase.compare_exchange_strong(loading, Phase::kReady);
  }

  bool drain(milliseconds timeout) override {
    state_.phase.store(Phase::kDraining);
    log_info("draining", {{"generations", std::int64_t{state_.admissions.active()}}});
    if (!state_.has_service.load(std::memory_order_acquire)) return true;
    const bool finished = state_.service.engine->drain(timeout);
    return state_.admissions.wait_empty(kFlushTime) && finished;
  }

  void stop() override {
    main_.stop();
    ops_.stop();
  }

  std::int32_t port() const override { return main_.port(); }
  std::int32_t ops_port() const override {
    return state_.options.ops == OpsListener::kOn ? ops_.port() : -1;
  }
  MetricRegistry& metrics() override { return state_.registry; }

 private:
  ServerState state_;
  Listener main_;
  Listener ops_;
};

}  // namespace

Result<std::unique_ptr<Server>> Server::start(ServerOptions options) {
  FP_TRY(check_options(options));
  FP_ASSIGN(const bool loopback, check_bind(options, options.host));
  if (options.ops == OpsListener::kOn) {
    FP_ASSIGN([[maybe_unused]] const bool ops_loopback, check_bind(options, options.ops_host));
  }
  const bool keyless = options.api_keys.empty();
  const HostRule hosts = loopback && keyless ? HostRule::kLoopbackOnly : HostRule::kAny;
  auto server = std::make_unique<ServerImpl>(std::move(options), hosts);
  FP_TRY(server->listen());
  return server;
}

}  // namespace fieldprint
