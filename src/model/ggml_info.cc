#include "model/ggml_info.h"

#include <ggml-cpu.h>
#include <ggml.h>

#include <utility>

namespace fieldprint {

GgmlInfo ggml_info() {
  GgmlInfo info;
  info.version = ggml_version();
  info.commit = ggml_commit();
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

}  // namespace fieldprint
