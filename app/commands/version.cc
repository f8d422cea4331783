#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "app/commands/commands.h"
#include "app/support/build_info.h"

namespace fieldprint::app {

Result<int> cmd_version(const CommandInput& input) {
  const BuildInfo info = build_info();
  if (input.settings.flag("json")) {
    const nlohmann::ordered_json json = {
        {"version", info.version}, {"commit", info.commit}, {"build", info.build},
        {"ggml", info.ggml},       {"isa", info.isa},       {"cpu_features", info.cpu_features}};
    fmt::print("{}\n", json.dump());
    return 0;
  }
  fmt::print("fieldprint {} ({})\nbuild  {}\nggml   {}\nisa    {}\ncpu    {}\n", info.version,
             info.commit, info.build, info.ggml, info.isa, fmt::join(info.cpu_features, " "));
  return 0;
}

}  // namespace fieldprint::app
