#include "app/support/build_info.h"

#include <fmt/format.h>

#include "attention/cpu/isa.h"
#include "fieldprint_commit.h"  // generated at build time: FIELDPRINT_COMMIT
#include "model/ggml_info.h"

namespace fieldprint::app {

BuildInfo build_info() {
  BuildInfo info;
  info.version = FIELDPRINT_VERSION;
  info.commit = FIELDPRINT_COMMIT;
  info.build = fmt::format("{}, gcc {}.{}.{}", FIELDPRINT_BUILD_TYPE, __GNUC__, __GNUC_MINOR__,
                           __GNUC_PATCHLEVEL__);
  const GgmlInfo ggml = ggml_info();
  info.ggml = fmt::format("{} ({})", ggml.version, ggml.commit);
  info.isa = cpu_isa_name(best_cpu_isa());
  info.cpu_features = ggml.cpu_features;
  return info;
}

std::string version_string() { return fmt::format("{}+{}", FIELDPRINT_VERSION, FIELDPRINT_COMMIT); }

}  // namespace fieldprint::app
