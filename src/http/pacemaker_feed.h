// What responses give to the pacemaker, and what it and the sessions tell in metrics.
// Thread rule: any thread, update_session_metrics() one at a time.
#pragma once

#include <memory>
#include <string>

#include "http/state.h"

namespace fieldprint {

// Of that anchor ("sha256:<hex>"); null: it is not known here, or has no recipe.
std::shared_ptr<const SupervisionModel> supervision_model_of(const ServerState& state,
                                                             const std::string& anchor);

// Keeps the verified states of a response. agent: who the request says it is, else its session;
// empty: nobody to count them for.
void keep_verified_states(ServerState& state, const std::string& owner, const std::string& agent,
                          const SupervisionReport& report);

void update_session_metrics(ServerState& state);

}  // namespace fieldprint
