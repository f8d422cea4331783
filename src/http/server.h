// The OpenAI-compatible HTTP server. The HTTP library is visible only in src/http.
//
// Life: start() binds and answers at once (503 model_loading on every work route,
// 200 on /livez); set_loading_progress() while the model loads; set_ready() once;
// drain() on the first signal; destruction stops and joins everything.
//
// Thread rule: every public method may be called from any thread. One thread per
// connection, capped; probes have their own listener with two threads.
// Routes and bodies: docs/api.md.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "api/request.h"
#include "core/error.h"
#include "core/metrics.h"
#include "engine/session_store.h"
#include "http/service.h"

namespace fieldprint {

enum class OpsListener : std::uint8_t { kOn, kOff };
enum class VllmMetricNames : std::uint8_t { kOff, kOn };

struct ReleasePolicy {
  ReleaseChoice fallback = ReleaseChoice::kStrict;  // where a request says nothing
  ReleaseChoice minimum = ReleaseChoice::kOff;      // weaker ones are refused
};

struct ServerOptions {
  std::string host = "127.0.0.1";  // beyond loopback only with api_keys
  std::int32_t port = 8080;        // 0: any free port
  OpsListener ops = OpsListener::kOn;
  std::string ops_host = "127.0.0.1";  // the same rule as host
  std::int32_t ops_port = 8081;        // 0: any free port

  std::vector<std::string> api_keys;      // empty: no authentication
  std::vector<std::string> cors_origins;  // besides localhost; exact "https://host[:port]"

  std::int32_t max_streams = 64;       // generations in flight; beyond it 503 server_busy
  std::int32_t max_connections = 256;  // open connections; beyond it 503 too_many_connections
  std::size_t max_body_bytes = 8U << 20;

  std::chrono::milliseconds request_deadline{600'000};  // non-streamed responses
  std::chrono::milliseconds ping_interval{15'000};      // ": ping" after this much silence
  std::chrono::milliseconds keep_alive{5'000};          // idle connection
  std::chrono::milliseconds read_timeout{30'000};       // whole request, first byte to last
  std::chrono::milliseconds write_timeout{30'000};      // one blocked write
  std::chrono::milliseconds metrics_max_age{50};  // /metrics text is rebuilt at most this often

  ReleasePolicy release;
  SessionLimits sessions;

  VllmMetricNames vllm_metrics = VllmMetricNames::kOff;  // export vllm:* aliases too
  std::string build_version;                             // "0.1.0+<commit>", in /version
  MetricRegistry* metrics = nullptr;                     // not owned; null: the server's own
};

class Server {
 public:
  // Binds both listeners and starts to answer.
  // Errors: bind_needs_api_key, api_key_invalid, address_invalid, address_in_use,
  // invalid_option.
  static Result<std::unique_ptr<Server>> start(ServerOptions options);
  virtual ~Server() = default;

  virtual void set_loading_progress(int percent) = 0;  // 0..100
  virtual void set_ready(ServiceContext service) = 0;  // at most once; also while draining
  // Refuses new work (503 draining; /readyz and /health 503), drains the engine,
  // waits until responses in flight are written. False if some were cut off.
  virtual bool drain(std::chrono::milliseconds timeout) = 0;
  // Closes listeners and connections, joins all threads. Idempotent.
  virtual void stop() = 0;

  virtual std::int32_t port() const = 0;
  virtual std::int32_t ops_port() const = 0;  // -1 when off
  virtual MetricRegistry& metrics() = 0;
};

// Keys of a file: one per line, '#' comments. The file must be readable by its
// owner only. Errors: api_key_file_missing, api_key_file_mode, api_key_invalid.
Result<std::vector<std::string>> load_api_keys(const std::string& path);
// Keys of a comma-separated list (environment or flag). Errors: api_key_invalid.
Result<std::vector<std::string>> parse_api_keys(const std::string& list);

}  // namespace fieldprint
