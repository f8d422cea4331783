// Which ggml this binary runs with, and what that build uses of the CPU.
#pragma once

#include <string>
#include <vector>

namespace fieldprint {

struct GgmlInfo {
  std::string version;                    // "0.25.3"
  std::string commit;                     // as ggml reports it
  std::vector<std::string> cpu_features;  // "avx2", "avx512_vnni", ...
};
GgmlInfo ggml_info();

}  // namespace fieldprint
