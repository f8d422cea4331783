// The lines that say what was started: about ten, on stderr.
#pragma once

#include <string>
#include <vector>

#include "app/support/model_stack.h"

namespace fieldprint::app {

// addresses: "http://127.0.0.1:8080 (API)"; empty for terminal use.
std::string banner(const Settings& settings, const EngineStack& stack,
                   const std::vector<std::string>& addresses);

}  // namespace fieldprint::app
