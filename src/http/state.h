// What all handlers of one server share: options, phase, the service once it is
// there, admission and metrics. Internal to src/http.
//
// Thread rule: everything may be called from any thread; `service` is written once
// before has_service is set and is read only after.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "api/limits.h"
#include "engine/session_store.h"
#include "http/auth.h"
#include "http/http_metrics.h"
#include "http/origin.h"
#include "http/server.h"
#include "supervisor/pacemaker.h"

namespace fieldprint {

enum class Phase : std::uint8_t { kLoading, kReady, kDraining };

// Counts generations with a client waiting; refuses over the cap; lets drain() wait.
class Admissions {
 public:
  explicit Admissions(int cap) : cap_(cap) {}

  class Slot {  // move-only; gives the place back when it dies
   public:
    explicit Slot(Admissions* owner) : owner_(owner) {}
    Slot(Slot&& other) noexcept : owner_(std::exchange(other.owner_, nullptr)) {}
    Slot& operator=(Slot&&) = delete;
    ~Slot() {
      if (owner_ != nullptr) owner_->release();
    }

   private:
    Admissions* owner_;
  };

  std::optional<Slot> enter();
  bool wait_empty(std::chrono::milliseconds timeout);
  int active() const;

 private:
  void release();

  const int cap_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  int active_ = 0;
};

struct ServerState {
  ServerState(ServerOptions server_options, HostRule hosts);

  ServerOptions options;
  ApiLimits limits;
  Authenticator auth;
  OriginPolicy origins;
  std::unique_ptr<MetricRegistry> own_registry;
  MetricRegistry& registry;
  HttpMetrics metrics;
  MetricsPage page;
  Admissions admissions;
  SessionStore sessions;
  Pacemaker pacemaker;
  // When drift was last fitted for the page, under the page's lock.
  std::optional<std::chrono::steady_clock::time_point> drift_fitted;

  std::atomic<Phase> phase{Phase::kLoading};
  std::atomic<int> loading_percent{0};
  std::atomic<bool> has_service{false};  // `service` may be read
  ServiceContext service;
  std::string system_fingerprint;  // build and model digest

  // The error that keeps work out while loading or draining; nullopt when ready.
  std::optional<Error> not_ready() const;
  // Whether `model` (may be empty) names what is served. Errors: model_not_found.
  Status check_model(const std::string& model, const char* param) const;
};

}  // namespace fieldprint
