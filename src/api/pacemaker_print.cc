// The pacemaker's report as JSON.
#include <utility>

#include "api/print_json.h"
#include "api/response.h"

namespace fieldprint {
namespace {

constexpr double kMicro = 1e6;

OrderedJson number_or_null(const std::optional<double>& value) {
  return value ? OrderedJson(rounded(*value, kMicro)) : OrderedJson(nullptr);
}

OrderedJson order_json(const OrderParameters& order) {
  return {{"agents", order.agents},
          {"states", order.states},
          {"rho", number_or_null(order.rho)},
          {"rho_error", number_or_null(order.rho_error)},
          {"r2", number_or_null(order.r2)},
          {"r2_error", number_or_null(order.r2_error)},
          {"shared", number_or_null(order.shared)},
          {"excess", number_or_null(order.excess)},
          {"excess_error", number_or_null(order.excess_error)}};
}

OrderedJson agent_json(const PacemakerAgent& agent) {
  OrderedJson nearest = nullptr;
  if (agent.nearest) {
    nearest = {{"agent", agent.nearest->agent}, {"cosine", rounded(agent.nearest->cosine, kMicro)}};
  }
  return {{"agent", agent.agent},
          {"states", agent.states},
          {"rho", rounded(agent.rho, kMicro)},
          {"nearest", std::move(nearest)}};
}

}  // namespace

std::string print_pacemaker(std::span<const PacemakerReport> reports) {
  OrderedJson anchors = OrderedJson::array();
  for (const PacemakerReport& report : reports) {
    OrderedJson agents = OrderedJson::array();
    for (const PacemakerAgent& agent : report.agents) agents.push_back(agent_json(agent));
    anchors.push_back({{"anchor", report.anchor},
                       {"recipe", report.recipe},
                       {"order", order_json(report.order)},
                       {"agents", std::move(agents)}});
  }
  return dump_json({{"anchors", std::move(anchors)}});
}

}  // namespace fieldprint
