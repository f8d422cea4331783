// The store of verified states behind an anchor, and how well the agents that share it agree.
//
// A verified state is the direction x = e_t / |e_t| of a segment's pooled state (coherence.h) that
// was measured, raised no alarm, was not rolled back and is not known to be missing in the ledger.
// Agents are counted alike, however many states each has: m_i is the mean of agent i's states, a
// the anchor's reference, c_i = m_i.a, N agents.
//   r2  = sum_(i != j) m_i.m_j / (N (N-1))   mean cosine between states of different agents:
//         the unbiased form of r^2, whose plain form |mean x|^2 is 1/N for agents that have
//         nothing in common
//   rho = sum_i c_i / N                      mean cosine with the anchor
//   shared = sum_(i != j) c_i c_j / (N (N-1))   what r2 would be if the agents had nothing in
//         common but the anchor's direction; excess = r2 - shared
// Errors are jackknife standard errors over agents. High rho: the anchor holds. High r2 with low
// rho: the agents agree on something else (echoing). What it does not mean: agents that do not
// read each other have no coupling, so agreement among replicas is no synchronisation; it shows
// what they share: anchor, model, prompts. Excess counts common topics too: compare with agents
// permuted over conversations before reading anything into it.
// Source: docs/supervisor.md, decision 49.
//
// Thread rule: order_parameters() is pure; a Pacemaker may be used from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "supervisor/coherence.h"
#include "supervisor/report.h"

namespace fieldprint {

struct OrderParameters {
  std::size_t agents = 0;
  std::size_t states = 0;
  // With one agent: rho alone. With two: no errors. Absent means that it is not defined.
  std::optional<double> rho;
  std::optional<double> rho_error;
  std::optional<double> r2;
  std::optional<double> r2_error;
  std::optional<double> shared;
  std::optional<double> excess;
  std::optional<double> excess_error;
};

// means: [N][dims] one after another, m_i of each agent. reference: a, of length 1, [dims].
// `states` is left at 0.
OrderParameters order_parameters(std::span<const double> means, std::span<const double> reference);

struct PacemakerLimits {
  std::size_t anchors = 8;   // the one without new states for longest goes first
  std::size_t agents = 256;  // of one anchor; likewise
  std::size_t states = 64;   // of one agent; the oldest goes first
};

struct PacemakerNeighbour {
  std::string agent;
  double cosine = 0;
};
struct PacemakerAgent {
  std::string agent;
  std::size_t states = 0;
  double rho = 0;  // c_i
  // The state of another agent that is nearest to this one's newest; of a lower cosine than rho's
  // square it says nothing.
  std::optional<PacemakerNeighbour> nearest;
};
struct PacemakerReport {
  std::string anchor;  // "sha256:<hex>"
  std::string recipe;  // of the coherence recipe: other recipes' states are not comparable
  OrderParameters order;
  std::vector<PacemakerAgent> agents;  // by name
};

class Pacemaker {
 public:
  explicit Pacemaker(PacemakerLimits limits = {});
  ~Pacemaker();
  Pacemaker(const Pacemaker&) = delete;
  Pacemaker& operator=(const Pacemaker&) = delete;

  // Takes the verified states of a response in, behind the anchor that its chain is bound to.
  // coherence: of that anchor; directions of other dimensions are passed over. owner: the tenant;
  // two owners' agents are never shown to each other, whatever their names. Returns how many
  // states it took.
  std::size_t add(const std::string& owner, const std::string& agent, const Coherence& coherence,
                  const SupervisionReport& report);
  // Drops an agent's states behind every anchor.
  void forget(const std::string& owner, const std::string& agent);

  // Of one owner's agents, by anchor; without an owner of everybody's, and no agent is listed.
  std::vector<PacemakerReport> report(const std::optional<std::string>& owner) const;

 private:
  struct Store;
  Store& store_of(const std::string& anchor, const Coherence& coherence);

  const PacemakerLimits limits_;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Store>> stores_;
  std::uint64_t clock_ = 0;  // counts add(): ages
};

}  // namespace fieldprint
