// What this binary is.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace fieldprint::app {

struct BuildInfo {
  std::string version;  // "0.1.0"
  std::string commit;   // short hash, "+" appended when the tree had changes; "unknown"
  std::string build;    // "Release, gcc 12.2.0"
  std::string ggml;     // "0.25.3 (commit)"
  std::string isa;      // best kernels this machine can run: "avx512_bf16"
  std::vector<std::string> cpu_features;  // those ggml reports
};
BuildInfo build_info();

std::string version_string();  // "0.1.0+<commit>"

}  // namespace fieldprint::app
