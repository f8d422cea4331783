#include "app/support/build_info.h"

#include <fmt/format.h>
#include <ggml-cpu.h>
#include <ggml.h>

#include "attention/cpu/isa.h"
#include "fieldprint_commit.h"  // generated at build time: FIELDPRINT_COMMIT

namespace fieldprint::app {

BuildInfo build_info() {
  BuildInfo info;
  info.version = FIELDPRINT_VERSION;
  info.commit = FIELDPRINT_COMMIT;
  info.build = fmt::format("{}, gcc {}.{}.{}", FIELDPRINT_BUILD_TYPE, __GNUC__, __GNUC_MINOR__,
                           __GNUC_PATCHLEVEL__);
  info.ggml = fmt::format("{} ({})", ggml_version(), ggml_commit());
  info.isa = cpu_isa_name(best_cpu_isa());
  const std::pair<const char*, int> features[] = {
      {"avx2", ggml_cpu_has_avx2()},
      {"fma", ggml_cpu_has_fma()},
      {"f16c", ggml_cpu_has_f16c()},
      {"avx_vnni", ggml_cpu_has_avx_vnni()},
      {"avx512", ggml_cpu_has_avx512()},
      {"avx512_vbmi", ggml_cpu_has_avx512_vbmi()},
      {"avx512_vnni", ggml_cpu_has_avx512_vnni()},
      {"avx512_bf16", ggml_cpu_has_avx512_bf16()},
      {"amx_int8", ggml_cpu_has_amx_int8()},
  };
  for (const auto& [name, present] : features)
    if (present != 0) info.cpu_features.emplace_back(name);
  return info;
}

std::string version_string() { return fmt::format("{}+{}", FIELDPRINT_VERSION, FIELDPRINT_COMMIT); }

}  // namespace fieldprint::app
