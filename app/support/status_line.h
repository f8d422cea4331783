// The line a busy server writes every ten seconds; nothing while idle.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "engine/engine.h"

namespace fieldprint::app {

class StatusLine {
 public:
  // Compares with the stats of the call before. nullopt if nothing ran in between.
  std::optional<std::string> next(const EngineStats& stats, double seconds_since_last);

 private:
  EngineStats last_;
};

}  // namespace fieldprint::app
