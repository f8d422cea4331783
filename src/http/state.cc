#include "http/state.h"

#include <algorithm>
#include <utility>

namespace fieldprint {

std::optional<Admissions::Slot> Admissions::enter() {
  const std::lock_guard lock(mutex_);
  if (active_ >= cap_) return std::nullopt;
  ++active_;
  return Slot(this);
}

void Admissions::release() {
  const std::lock_guard lock(mutex_);
  --active_;
  changed_.notify_all();
}

bool Admissions::wait_empty(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout, [this] { return active_ == 0; });
}

int Admissions::active() const {
  const std::lock_guard lock(mutex_);
  return active_;
}

ServerState::ServerState(ServerOptions server_options, HostRule hosts)
    : options(std::move(server_options)),
      auth(options.api_keys),
      origins(options.cors_origins, hosts),
      own_registry(options.metrics == nullptr ? std::make_unique<MetricRegistry>() : nullptr),
      registry(options.metrics == nullptr ? *own_registry : *options.metrics),
      metrics(registry),
      page(registry, options.metrics_max_age),
      admissions(options.max_streams),
      sessions(options.sessions) {
  limits.body_bytes = options.max_body_bytes;
  registry
      .gauge("fieldprint_build_info", "Always 1; the version is a label",
             {{"version", options.build_version}})
      .set(1);
}

std::optional<Error> ServerState::not_ready() const {
  switch (phase.load(std::memory_order_acquire)) {
    case Phase::kReady:
      return std::nullopt;
    case Phase::kLoading: {
      const std::string percent = std::to_string(loading_percent.load());
      return Error{ErrorKind::kUnavailable, "model_loading",
                   "the model is loading (" + percent + " %); try again shortly", ""};
    }
    case Phase::kDraining:
      return Error{ErrorKind::kUnavailable, "draining",
                   "the server is shutting down and takes no new work", ""};
  }
  return std::nullopt;
}

Status ServerState::check_model(const std::string& model, const char* param) const {
  const auto& aliases = service.aliases;
  if (model.empty() || model == service.model_id ||
      std::find(aliases.begin(), aliases.end(), model) != aliases.end()) {
    return {};
  }
  return fail(ErrorKind::kNotFound, "model_not_found",
              "model '" + model.substr(0, 128) + "' is not served here; the model is '" +
                  service.model_id + "'",
              param);
}

}  // namespace fieldprint
