// The server's metrics and the /metrics page.
// Thread rule: everything may be called from any thread.
#pragma once

#include <chrono>
#include <mutex>
#include <string>
#include <string_view>

#include "core/metrics.h"
#include "http/service.h"

namespace fieldprint {

// Handles of everything src/http counts. Labels hold matched routes and fixed
// reasons only: nothing a client writes becomes a label.
struct HttpMetrics {
  explicit HttpMetrics(MetricRegistry& registry);

  void count_response(std::string_view route, int status, double seconds);
  void count_rejection(std::string_view code);
  void count_receipt(std::string_view result);  // "issued", or why not

  MetricRegistry& registry;
  Gauge& connections;
  Counter& connections_refused;
  Gauge& streams;             // generations in flight
  Counter& cancelled;         // the client left
  Counter& ignored_fields;    // unknown fields of request bodies
  Histogram& first_token;     // request to first text, seconds
  Histogram& between_tokens;  // text to text, seconds
  Histogram& request;         // whole generation, seconds
  Histogram& angle;           // of every measured segment, radians
};

// Sets the gauges and totals that the engine keeps. model: label of vllm:* names.
void update_engine_metrics(MetricRegistry& registry, const Engine& engine);
void update_supervisor_metrics(MetricRegistry& registry, const Engine& engine);
void update_vllm_metrics(MetricRegistry& registry, const Engine& engine, const std::string& model);

// The exposition text, rebuilt at most once per max_age: an endpoint picker reads it
// every 50 ms per replica.
class MetricsPage {
 public:
  MetricsPage(const MetricRegistry& registry, std::chrono::milliseconds max_age)
      : registry_(registry), max_age_(max_age) {}

  // update: called under the lock before a rebuild.
  template <typename Update>
  std::string text(Update&& update) {
    const std::lock_guard lock(mutex_);
    const auto now = std::chrono::steady_clock::now();
    if (text_.empty() || now - built_ >= max_age_) {
      update();
      text_ = registry_.expose();
      built_ = now;
    }
    return text_;
  }

 private:
  const MetricRegistry& registry_;
  std::chrono::milliseconds max_age_;
  std::mutex mutex_;
  std::string text_;
  std::chrono::steady_clock::time_point built_;
};

}  // namespace fieldprint
