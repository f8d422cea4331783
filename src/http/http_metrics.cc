#include "http/http_metrics.h"

namespace fieldprint {
namespace {

double ratio(std::int32_t part, std::int32_t whole) {
  return whole > 0 ? static_cast<double>(part) / whole : 0.0;
}

std::vector<double> angle_bounds() {
  std::vector<double> bounds;
  for (int tenths = 1; tenths <= 31; ++tenths) bounds.push_back(tenths / 10.0);
  return bounds;
}

}  // namespace

HttpMetrics::HttpMetrics(MetricRegistry& into)
    : registry(into),
      connections(into.gauge("fieldprint_http_connections", "Open connections")),
      connections_refused(into.counter("fieldprint_http_connections_refused_total",
                                       "Connections over the cap, answered 503 or dropped")),
      streams(into.gauge("fieldprint_http_generations", "Generations with a client waiting")),
      cancelled(into.counter("fieldprint_http_cancelled_total",
                             "Generations cancelled because the client left")),
      ignored_fields(into.counter("fieldprint_ignored_fields_total",
                                  "Unknown fields of request bodies, listed to the client")),
      first_token(into.histogram("fieldprint_time_to_first_token_seconds",
                                 "From the request to its first text", latency_bounds_seconds())),
      between_tokens(into.histogram("fieldprint_inter_token_seconds",
                                    "Between two pieces of text of one choice",
                                    latency_bounds_seconds())),
      request(into.histogram("fieldprint_request_seconds",
                             "From the request to the end of its generation",
                             latency_bounds_seconds())),
      angle(into.histogram("fieldprint_segment_angle_radians",
                           "Angle to the anchor of each measured segment, dropped ones too",
                           angle_bounds())) {}

void HttpMetrics::count_response(std::string_view route, int status, double seconds) {
  registry
      .counter("fieldprint_http_responses_total", "Responses by matched route and status",
               {{"route", std::string(route)}, {"status", std::to_string(status)}})
      .add();
  registry
      .histogram("fieldprint_http_response_seconds", "Time to write a whole response",
                 latency_bounds_seconds(), {{"route", std::string(route)}})
      .observe(seconds);
}

void HttpMetrics::count_rejection(std::string_view code) {
  registry
      .counter("fieldprint_http_rejections_total", "Requests refused before they ran",
               {{"code", std::string(code)}})
      .add();
}

void HttpMetrics::count_receipt(std::string_view result) {
  registry
      .counter("fieldprint_receipts_total", "Receipts by what became of them",
               {{"result", std::string(result)}})
      .add();
}

void update_engine_metrics(MetricRegistry& registry, const Engine& engine) {
  const EngineStats stats = engine.stats();
  const auto gauge = [&](const char* name, const char* help, double value) {
    registry.gauge(name, help).set(value);
  };
  const auto total = [&](const char* name, const char* help, double value) {
    registry.counter(name, help).raise_to(value);
  };
  gauge("fieldprint_requests_running", "Sequences in the batch", stats.running);
  gauge("fieldprint_requests_waiting", "Requests in the engine's queue", stats.waiting);
  gauge("fieldprint_kv_pages_total", "KV pages on the device", stats.pages_total);
  gauge("fieldprint_kv_pages_used", "KV pages held by sequences or pinned", stats.pages_used);
  gauge("fieldprint_kv_pages_cached", "KV pages held by the prefix cache only", stats.pages_cached);
  // Evictable pages do not count: a router would see a full server.
  gauge("fieldprint_kv_usage_ratio", "KV pages used of all",
        ratio(stats.pages_used, stats.pages_total));
  total("fieldprint_engine_steps_total", "Steps of the engine", static_cast<double>(stats.steps));
  total("fieldprint_prompt_tokens_total", "Prompt tokens accepted",
        static_cast<double>(stats.prompt_tokens));
  total("fieldprint_cached_tokens_total", "Prompt tokens found in the prefix cache",
        static_cast<double>(stats.cached_tokens));
  total("fieldprint_generated_tokens_total", "Tokens generated",
        static_cast<double>(stats.generated_tokens));
  total("fieldprint_preemptions_total", "Sequences whose pages were taken back",
        static_cast<double>(stats.preemptions));
  total("fieldprint_overrides_total", "Requests that ran without the anchor by a signed override",
        static_cast<double>(stats.overrides));
  total("fieldprint_anchors_revoked_total", "Anchors taken away while they were served",
        static_cast<double>(stats.anchors_revoked));
  total("fieldprint_revocation_ended_total", "Requests that ended with their anchor",
        static_cast<double>(stats.revocation_ended));
  total("fieldprint_revocation_reanchored_total", "Requests that went on without their anchor",
        static_cast<double>(stats.revocation_reanchored));
  gauge("fieldprint_anchor_refusing", "1 while requests are refused because the anchor was revoked",
        engine.anchor_state().refusing ? 1 : 0);
  total("fieldprint_engine_busy_seconds_total", "Time inside steps", stats.busy_seconds);
}

void update_supervisor_metrics(MetricRegistry& registry, const Engine& engine) {
  const EngineStats stats = engine.stats();
  const SupervisorMetrics& supervisor = stats.supervisor;
  const auto total = [&](const char* name, const char* help, std::uint64_t value) {
    registry.counter(name, help).raise_to(static_cast<double>(value));
  };
  total("fieldprint_supervised_tokens_total", "Tokens with a fingerprint", supervisor.tokens);
  total("fieldprint_supervised_segments_total", "Segments judged", supervisor.segments);
  total("fieldprint_breaches_total", "Segments that were a breach", supervisor.breaches);
  total("fieldprint_unseen_tokens_total", "Tokens of supervised answers without a fingerprint",
        supervisor.gaps);
  total("fieldprint_unlogged_entries_total", "Segments, breaches and rollbacks the ledger lost",
        supervisor.unlogged);
  total("fieldprint_rollbacks_total", "Breaches after which generation went on", stats.rollbacks);
  total("fieldprint_filtered_total", "Choices that supervision ended", stats.filtered);
  total("fieldprint_dropped_tokens_total", "Tokens generated and taken back", stats.dropped_tokens);
  registry
      .gauge("fieldprint_supervisor_lag_seconds",
             "From the last state of the last judged segment to its verdict")
      .set(supervisor.lag_seconds);
  const SupervisionInfo can = engine.supervision();
  registry
      .gauge("fieldprint_supervision_ready",
             "What the anchor in front has a recipe for: 2 angles, 1 fingerprints only, 0 nothing")
      .set(can.coherence      ? 2
           : can.fingerprints ? 1
                              : 0);
}

void update_vllm_metrics(MetricRegistry& registry, const Engine& engine, const std::string& model) {
  const EngineStats stats = engine.stats();
  const MetricLabels labels = {{"model_name", model}};
  const double usage = ratio(stats.pages_used, stats.pages_total);
  registry.gauge("vllm:num_requests_running", "Alias of fieldprint_requests_running", labels)
      .set(stats.running);
  registry.gauge("vllm:num_requests_waiting", "Alias of fieldprint_requests_waiting", labels)
      .set(stats.waiting);
  registry.gauge("vllm:kv_cache_usage_perc", "Alias of fieldprint_kv_usage_ratio", labels)
      .set(usage);
  registry.gauge("vllm:gpu_cache_usage_perc", "Alias of fieldprint_kv_usage_ratio", labels)
      .set(usage);
  registry.counter("vllm:prompt_tokens_total", "Alias of fieldprint_prompt_tokens_total", labels)
      .raise_to(static_cast<double>(stats.prompt_tokens));
  registry
      .counter("vllm:generation_tokens_total", "Alias of fieldprint_generated_tokens_total", labels)
      .raise_to(static_cast<double>(stats.generated_tokens));
  registry
      .counter("vllm:prefix_cache_hits_total", "Alias of fieldprint_cached_tokens_total", labels)
      .raise_to(static_cast<double>(stats.cached_tokens));
  registry
      .counter("vllm:prefix_cache_queries_total", "Alias of fieldprint_prompt_tokens_total", labels)
      .raise_to(static_cast<double>(stats.prompt_tokens));
  registry.counter("vllm:num_preemptions_total", "Alias of fieldprint_preemptions_total", labels)
      .raise_to(static_cast<double>(stats.preemptions));
}

}  // namespace fieldprint
