#include "http/pacemaker_feed.h"

#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "crypto/sha256.h"
#include "http/receipt_draft.h"
#include "supervisor/drift.h"

namespace fieldprint {
namespace {

// Fitting reads every angle of every session; the page may be asked for twenty times a second.
constexpr std::chrono::seconds kFitAge{10};

double number(const std::optional<double>& value) {
  return value.value_or(std::numeric_limits<double>::quiet_NaN());
}

void update_pacemaker(ServerState& state) {
  const std::string front = state.service.engine->anchor_state().digest;
  OrderParameters order;
  for (const PacemakerReport& report : state.pacemaker.report(std::nullopt)) {
    if (report.anchor == front) order = report.order;
  }
  const auto gauge = [&](const char* name, const char* help, double value) {
    state.registry.gauge(name, help).set(value);
  };
  gauge("fieldprint_pacemaker_agents", "Agents with verified states behind the anchor in front",
        static_cast<double>(order.agents));
  gauge("fieldprint_pacemaker_states", "Their verified states", static_cast<double>(order.states));
  gauge("fieldprint_pacemaker_rho", "Mean cosine with the anchor; NaN without agents",
        number(order.rho));
  gauge("fieldprint_pacemaker_r2", "Mean cosine between agents, unbiased; NaN under two agents",
        number(order.r2));
  gauge("fieldprint_pacemaker_excess", "r2 beyond what the anchor in common explains",
        number(order.excess));
}

void update_drift(ServerState& state) {
  const std::vector<std::vector<double>> angles = state.sessions.angles();
  const std::vector<std::span<const double>> parts(angles.begin(), angles.end());
  const Result<DriftFit> fit = fit_drift_pooled(parts, 1.0);
  const auto gauge = [&](const char* name, const char* help, double value) {
    state.registry.gauge(name, help).set(fit ? value : std::numeric_limits<double>::quiet_NaN());
  };
  const DriftFit numbers = fit.value_or(DriftFit{});
  gauge("fieldprint_drift_k", "Fitted return of angles per segment; NaN without a fit", numbers.k);
  gauge("fieldprint_drift_k_error", "Its standard error", numbers.k_error);
  gauge("fieldprint_drift_s2", "Fitted noise of angles per segment", numbers.s2);
  gauge("fieldprint_drift_margin", "k - s2/2: positive is mean-square stable", numbers.margin);
  gauge("fieldprint_drift_margin_bound", "Its one-sided 95 % lower bound", numbers.margin_bound);
  gauge("fieldprint_drift_model_fits", "1 if the residuals fit the model, else 0: do not quote it",
        numbers.residuals.acceptable ? 1 : 0);
}

}  // namespace

std::shared_ptr<const SupervisionModel> supervision_model_of(const ServerState& state,
                                                             const std::string& anchor) {
  const std::optional<AnchorStanding> standing = standing_of(state.service, anchor);
  return standing ? standing->binding.supervision : nullptr;
}

void keep_verified_states(ServerState& state, const std::string& owner, const std::string& agent,
                          const SupervisionReport& report) {
  if (agent.empty()) return;
  const auto model = supervision_model_of(state, digest_string(report.binding.anchor_digest));
  if (model == nullptr || model->coherence() == nullptr) return;
  state.pacemaker.add(owner, agent, *model->coherence(), report);
}

void update_session_metrics(ServerState& state) {
  const SessionStats stats = state.sessions.stats();
  const auto total = [&](const char* name, const char* help, std::uint64_t value) {
    state.registry.counter(name, help).raise_to(static_cast<double>(value));
  };
  state.registry.gauge("fieldprint_sessions", "Sessions kept")
      .set(static_cast<double>(stats.sessions));
  state.registry.gauge("fieldprint_session_bytes", "Memory they account for")
      .set(static_cast<double>(stats.bytes));
  total("fieldprint_sessions_made_total", "Sessions begun or forked", stats.made);
  total("fieldprint_sessions_expired_total", "Sessions forgotten because unused", stats.expired);
  total("fieldprint_session_rollbacks_total", "Times a person went back", stats.undone);
  update_pacemaker(state);
  const auto now = std::chrono::steady_clock::now();
  if (state.drift_fitted && now - *state.drift_fitted < kFitAge) return;
  state.drift_fitted = now;
  update_drift(state);
}

}  // namespace fieldprint
