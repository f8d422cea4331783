// What happens to every request before its body is read and after its answer is
// made: request id, host and origin rules, authentication, phase, headers, log line.
#pragma once

#include <httplib.h>

#include <string_view>

#include "http/state.h"

namespace fieldprint {

// Label of the route a path belongs to; "unmatched" if none. Never the raw path.
std::string_view route_of(std::string_view path);

// Installs the hooks around the routes.
void install_gate(httplib::Server& server, ServerState& state);

}  // namespace fieldprint
