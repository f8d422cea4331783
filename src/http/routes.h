// The routes of both listeners.
#pragma once

#include <httplib.h>

#include "http/state.h"

namespace fieldprint {

void install_generation_routes(httplib::Server& server, ServerState& state);  // completions
void install_info_routes(httplib::Server& server, ServerState& state);        // models, tokenize
void install_trust_routes(httplib::Server& server, ServerState& state);       // receipts, anchors
void install_session_routes(httplib::Server& server, ServerState& state);     // and pacemaker
void install_log_routes(httplib::Server& server, ServerState& state);         // ledger tiles
void install_probe_routes(httplib::Server& server, ServerState& state);       // health, metrics

}  // namespace fieldprint
