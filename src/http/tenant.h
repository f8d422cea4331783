// Who a request belongs to: what separates cached prefixes, sessions and agents.
#pragma once

#include <httplib.h>

#include <string>

#include "http/state.h"

namespace fieldprint {

// One tenant for each API key, "anyone" on a server without keys. Holds nothing of the key.
inline std::string tenant_of(const ServerState& state, const httplib::Request& request) {
  const auto key = state.auth.match(request.get_header_value("Authorization"),
                                    request.get_header_value("X-Api-Key"));
  return key ? "key " + std::to_string(*key) : std::string("anyone");
}

}  // namespace fieldprint
