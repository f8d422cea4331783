#include "supervisor/pacemaker.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <map>
#include <utility>

#include "core/check.h"
#include "vector/exact_scan.h"

namespace fieldprint {

namespace {

using AgentKey = std::pair<std::string, std::string>;  // owner, agent

bool verified(const SegmentReading& reading, std::size_t dims) {
  return reading.measured && reading.cause == BreachCause::kNone &&
         reading.direction.size() == dims &&
         std::all_of(reading.direction.begin(), reading.direction.end(),
                     [](float x) { return std::isfinite(x); });
}

}  // namespace

// The states behind one anchor under one recipe.
struct Pacemaker::Store {
  struct Agent {
    std::deque<std::uint64_t> states;  // ids in `scan`, oldest first
    std::uint64_t touched = 0;
  };

  std::string anchor;
  std::string recipe;
  std::vector<double> reference;
  ExactScan scan;
  std::map<AgentKey, Agent> agents;
  std::map<std::uint64_t, AgentKey> agent_of;  // of each id
  std::uint64_t next_id = 0;
  std::uint64_t touched = 0;

  void add(const AgentKey& key, std::span<const float> direction, std::uint64_t now,
           const PacemakerLimits& limits);
  void drop_state(std::uint64_t id) {
    scan.erase(id);
    agent_of.erase(id);
  }
  void drop_agent(std::map<AgentKey, Agent>::iterator at) {
    for (const std::uint64_t id : at->second.states) drop_state(id);
    agents.erase(at);
  }
  std::vector<double> mean_of(const Agent& agent) const {
    std::vector<double> mean(reference.size(), 0.0);
    for (const std::uint64_t id : agent.states) {
      const auto row = scan.row(id);
      for (std::size_t d = 0; d < mean.size(); ++d) mean[d] += double{row[d]};
    }
    for (double& x : mean) x /= static_cast<double>(agent.states.size());
    return mean;
  }
  std::optional<PacemakerNeighbour> nearest(const AgentKey& key, const Agent& agent) const {
    const auto other = [&](std::uint64_t id) {
      const AgentKey& found = agent_of.at(id);
      return found.first == key.first && found != key;
    };
    const auto hits = scan.search(scan.row(agent.states.back()), 1, other);
    FP_CHECK(hits.has_value());  // the row came out of the store
    if (hits->empty()) return std::nullopt;
    return PacemakerNeighbour{agent_of.at(hits->front().id).second, double{hits->front().score}};
  }
};

Pacemaker::Pacemaker(PacemakerLimits limits) : limits_(limits) {
  FP_CHECK(limits_.anchors > 0 && limits_.agents > 0 && limits_.states > 0);
}
Pacemaker::~Pacemaker() = default;

Pacemaker::Store& Pacemaker::store_of(const std::string& anchor, const Coherence& coherence) {
  const std::string recipe = digest_string(coherence.recipe_digest());
  for (const auto& store : stores_) {
    if (store->anchor == anchor && store->recipe == recipe) return *store;
  }
  if (stores_.size() >= limits_.anchors) {
    stores_.erase(
        std::min_element(stores_.begin(), stores_.end(),
                         [](const auto& a, const auto& b) { return a->touched < b->touched; }));
  }
  auto scan = ExactScan::create(coherence.recipe().dims, VectorMetric::kInnerProduct,
                                limits_.agents * limits_.states);
  FP_CHECK(scan.has_value());  // a recipe has at most kCoherenceMaxDims dimensions
  const std::vector<float>& reference = coherence.recipe().reference;
  stores_.push_back(std::make_unique<Store>(
      Store{anchor, recipe, {reference.begin(), reference.end()}, std::move(*scan), {}, {}}));
  return *stores_.back();
}

void Pacemaker::Store::add(const AgentKey& key, std::span<const float> direction, std::uint64_t now,
                           const PacemakerLimits& limits) {
  touched = now;
  if (!agents.contains(key) && agents.size() >= limits.agents) {
    drop_agent(std::min_element(agents.begin(), agents.end(), [](const auto& a, const auto& b) {
      return a.second.touched < b.second.touched;
    }));
  }
  Agent& agent = agents[key];
  agent.touched = now;
  if (agent.states.size() >= limits.states) {
    drop_state(agent.states.front());
    agent.states.pop_front();
  }
  const std::uint64_t id = next_id++;
  FP_CHECK(scan.put(id, direction).has_value());  // verified(), and there is room
  agent_of.emplace(id, key);
  agent.states.push_back(id);
}

std::size_t Pacemaker::add(const std::string& owner, const std::string& agent,
                           const Coherence& coherence, const SupervisionReport& report) {
  // Which of its segments the ledger lacks is not known.
  if (report.unlogged > 0) return 0;
  const auto dims = static_cast<std::size_t>(coherence.recipe().dims);
  const std::string anchor = digest_string(report.binding.anchor_digest);
  const std::lock_guard lock(mutex_);
  std::size_t taken = 0;
  for (const SegmentReading& reading : report.timeline) {
    if (!verified(reading, dims) || !reading_stayed(reading, report.rollbacks)) continue;
    store_of(anchor, coherence).add({owner, agent}, reading.direction, ++clock_, limits_);
    ++taken;
  }
  return taken;
}

void Pacemaker::forget(const std::string& owner, const std::string& agent) {
  const std::lock_guard lock(mutex_);
  for (const auto& store : stores_) {
    const auto found = store->agents.find({owner, agent});
    if (found != store->agents.end()) store->drop_agent(found);
  }
  std::erase_if(stores_, [](const auto& store) { return store->agents.empty(); });
}

std::vector<PacemakerReport> Pacemaker::report(const std::optional<std::string>& owner) const {
  const std::lock_guard lock(mutex_);
  std::vector<PacemakerReport> reports;
  for (const auto& store : stores_) {
    PacemakerReport out;
    std::vector<double> means;
    std::size_t states = 0;
    for (const auto& [key, agent] : store->agents) {
      if (owner && key.first != *owner) continue;
      const std::vector<double> mean = store->mean_of(agent);
      means.insert(means.end(), mean.begin(), mean.end());
      states += agent.states.size();
      if (!owner) continue;
      const auto rho = order_parameters(mean, store->reference).rho;
      out.agents.push_back({key.second, agent.states.size(), *rho, store->nearest(key, agent)});
    }
    if (means.empty()) continue;
    out.anchor = store->anchor;
    out.recipe = store->recipe;
    out.order = order_parameters(means, store->reference);
    out.order.states = states;
    reports.push_back(std::move(out));
  }
  return reports;
}

}  // namespace fieldprint
