// serve: listens first, loads after, then waits for a signal.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>

#include "app/commands/commands.h"
#include "app/support/anchor_source.h"
#include "app/support/banner.h"
#include "app/support/build_info.h"
#include "app/support/release.h"
#include "app/support/shutdown.h"
#include "app/support/status_line.h"
#include "app/support/trust_services.h"
#include "core/log.h"
#include "core/progress.h"
#include "http/server.h"

namespace fieldprint::app {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kStatusPeriod{10'000};

milliseconds as_milliseconds(double seconds) {
  return milliseconds(static_cast<std::int64_t>(seconds * 1000));
}

Result<ServerOptions> server_options(const Settings& settings) {
  ServerOptions options;
  options.host = settings.text("host");
  options.port = static_cast<std::int32_t>(settings.integer("port"));
  options.ops_host = settings.text("ops-host");
  options.ops_port = static_cast<std::int32_t>(settings.integer("ops-port"));
  if (!settings.text("api-key-file").empty()) {
    FP_ASSIGN(options.api_keys, load_api_keys(settings.text("api-key-file")));
  }
  if (!settings.text("api-key").empty()) {
    FP_ASSIGN(const std::vector<std::string> keys, parse_api_keys(settings.text("api-key")));
    options.api_keys.insert(options.api_keys.end(), keys.begin(), keys.end());
  }
  options.cors_origins = settings.list("cors-origin");
  options.max_streams = static_cast<std::int32_t>(settings.integer("max-streams"));
  options.max_connections = static_cast<std::int32_t>(settings.integer("max-connections"));
  options.max_body_bytes = static_cast<std::size_t>(settings.integer("max-body"));
  options.request_deadline = as_milliseconds(settings.number("request-timeout"));
  options.vllm_metrics =
      settings.flag("vllm-metrics") ? VllmMetricNames::kOn : VllmMetricNames::kOff;
  options.release = release_policy(settings);
  options.sessions.sessions = static_cast<std::size_t>(settings.integer("sessions"));
  const std::size_t keys = std::max<std::size_t>(options.api_keys.size(), 1);
  options.sessions.per_owner = std::max<std::size_t>(options.sessions.sessions / keys, 1);
  options.sessions.session_bytes = static_cast<std::size_t>(settings.integer("session-bytes"));
  options.sessions.idle_seconds = settings.integer("session-ttl");
  options.build_version = version_string();
  return options;
}

ServiceContext service_of(const Settings& settings, const EngineStack& stack,
                          const TrustServices& trust) {
  ServiceContext service;
  service.engine = stack.engine.get();
  service.text =
      make_text_service(*stack.model.tokenizer, stack.model.chat ? &*stack.model.chat : nullptr);
  const std::filesystem::path file(stack.model.path);
  service.aliases = settings.list("model-alias");
  if (service.aliases.empty()) service.aliases.push_back(file.stem().string());
  service.model_id = service.aliases.front();
  service.aliases.erase(service.aliases.begin());
  service.model_digest = stack.model.digest;
  service.created = unix_now();
  service.front = stack.anchor;
  service.anchors = trust.anchors.get();
  service.receipts = trust.receipts.get();
  service.overrides = trust.overrides.get();
  if (stack.trust && stack.trust->ledger) service.log = &stack.trust->ledger->reader();
  service.tenant = settings.text("tenant");
  service.template_digest = template_digest(stack.model);
  if (const AnchorArtifact* anchor = stack.anchor.artifact.get()) {
    service.anchor = AnchorInfo{anchor->digest, anchor->name, anchor_mode_name(stack.anchor.mode),
                                anchor->recipe.wrap, anchor->length()};
    if (stack.promoted) {
      service.anchor->trust = AnchorTrust::kPromoted;
      service.anchor->promotion = stack.promoted->authority.promotion_digest;
    }
  }
  return service;
}

void export_anchor_metrics(MetricRegistry& metrics, const EngineStack& stack) {
  const AnchorArtifact* anchor = stack.anchor.artifact.get();
  metrics
      .gauge("fieldprint_anchor_unsigned",
             "1 while an anchor without a signature is served (development)")
      .set(anchor != nullptr && !stack.promoted ? 1 : 0);
  if (anchor == nullptr) return;
  metrics
      .gauge("fieldprint_anchor_info", "the anchor in front of every request",
             {{"digest", anchor->digest},
              {"name", anchor->name},
              {"mode", anchor_mode_name(stack.anchor.mode)},
              {"signed", stack.promoted ? "true" : "false"}})
      .set(1);
}

std::vector<std::string> addresses_of(const ServerOptions& options, const Server& server) {
  return {
      fmt::format("http://{}:{} (API)", options.host, server.port()),
      fmt::format("http://{}:{} (/livez /readyz /metrics)", options.ops_host, server.ops_port())};
}

Result<EngineStack> load(const Settings& settings, Server& server) {
  const ProgressStyle style = progress_style_for(STDERR_FILENO);
  Progress progress("loading model", 100, style,
                    style == ProgressStyle::kBar
                        ? stderr_progress_sink(style)
                        : Progress::Sink([](std::string_view line) { log_info(line); }));
  FP_ASSIGN(EngineStack stack, start_engine(settings, EngineUse::kServer, [&](int percent) {
              progress.update(static_cast<std::uint64_t>(percent));
              server.set_loading_progress(percent);
            }));
  progress.finish();
  return stack;
}

void write_status_until_signal(ShutdownSignals& signals, const Engine& engine) {
  StatusLine status;
  auto last = std::chrono::steady_clock::now();
  while (!signals.wait_for(kStatusPeriod)) {
    const auto now = std::chrono::steady_clock::now();
    const std::chrono::duration<double> passed = now - last;
    last = now;
    if (const auto line = status.next(engine.stats(), passed.count())) log_info(*line);
  }
}

}  // namespace

Result<int> cmd_serve(const CommandInput& input) {
  const Settings& settings = input.settings;
  ShutdownSignals signals;
  FP_TRY(check_anchor_settings(settings));
  FP_ASSIGN(const ServerOptions options, server_options(settings));
  // Declared before the server: the server's threads end before the engine does.
  Result<EngineStack> stack = fail(ErrorKind::kInternal, "internal", "not loaded");
  TrustServices trust;  // uses the stack, is used by the server
  FP_ASSIGN(const std::unique_ptr<Server> server, Server::start(options));
  stack = load(settings, *server);
  if (!stack) return tl::unexpected(stack.error());
  export_anchor_metrics(server->metrics(), *stack);
  FP_ASSIGN(trust, start_trust_services(settings, *stack));
  server->set_ready(service_of(settings, *stack, trust));
  signals.begin_service();
  std::fputs(banner(settings, *stack, addresses_of(options, *server)).c_str(), stderr);
  std::fputs(fmt::format("receipts    {}\n", trust.receipts_line).c_str(), stderr);
  if (stack->anchor.artifact && !trust.revocation_line.empty())
    std::fputs(fmt::format("revocation  {}\n", trust.revocation_line).c_str(), stderr);
  if (stack->anchor.artifact && !stack->promoted)
    log_warn("anchor: UNSIGNED (development)", {{"digest", stack->anchor.artifact->digest}});
  notify_service_manager("READY=1");
  write_status_until_signal(signals, *stack->engine);
  notify_service_manager("STOPPING=1");
  const milliseconds timeout = as_milliseconds(settings.number("drain-timeout"));
  log_info("signal: refusing new requests, running answers may finish",
           {{"drain_timeout_seconds", settings.number("drain-timeout")}});
  if (server->drain(timeout))
    log_info("drained");
  else
    log_warn("drain timeout: answers were cut off");
  server->stop();
  return 0;
}

}  // namespace fieldprint::app
