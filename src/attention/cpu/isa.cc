#include "attention/cpu/isa.h"

#include <string>

#include "attention/cpu/kernel.h"
#include "core/check.h"

namespace fieldprint {
namespace {

constexpr CpuIsa kAll[] = {CpuIsa::kScalar, CpuIsa::kAvx2, CpuIsa::kAvx512, CpuIsa::kAvx512Bf16};

bool machine_runs(CpuIsa isa) {
#if defined(FIELDPRINT_X86_KERNELS)
  // The builtins also ask the OS (xgetbv) whether it saves the wide registers.
  const bool avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
  const bool avx512 =
      avx2 && __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
      __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0;
  switch (isa) {
    case CpuIsa::kScalar:
      return true;
    case CpuIsa::kAvx2:
      return avx2;
    case CpuIsa::kAvx512:
      return avx512;
    case CpuIsa::kAvx512Bf16:
      return avx512 && __builtin_cpu_supports("avx512bf16") != 0;
  }
  FP_UNREACHABLE();
#else
  return isa == CpuIsa::kScalar;
#endif
}

// Intel's cores issue one vdpbf16ps every two cycles but two FMAs every cycle (measured:
// bench/attention/README.md), so widening bf16 by shifts is faster there.
bool bf16_dot_is_slow() {
#if defined(FIELDPRINT_X86_KERNELS)
  return __builtin_cpu_is("intel") != 0;
#else
  return false;
#endif
}

}  // namespace

std::string_view cpu_isa_name(CpuIsa isa) {
  switch (isa) {
    case CpuIsa::kScalar:
      return "scalar";
    case CpuIsa::kAvx2:
      return "avx2";
    case CpuIsa::kAvx512:
      return "avx512";
    case CpuIsa::kAvx512Bf16:
      return "avx512_bf16";
  }
  FP_UNREACHABLE();
}

Result<CpuIsa> cpu_isa_from_name(std::string_view name) {
  for (const CpuIsa isa : kAll) {
    if (cpu_isa_name(isa) == name) return isa;
  }
  return fail(ErrorKind::kInvalid, "attention_isa_unknown",
              "unknown CPU instruction set '" + std::string(name) +
                  "'; use scalar, avx2, avx512 or avx512_bf16");
}

bool cpu_isa_available(CpuIsa isa) {
  return machine_runs(isa) && find_kernel(isa, KvDtype::kBf16) != nullptr;
}

CpuIsa best_cpu_isa() {
  CpuIsa best = CpuIsa::kScalar;
  for (const CpuIsa isa : kAll) {
    if (isa == CpuIsa::kAvx512Bf16 && bf16_dot_is_slow() && best == CpuIsa::kAvx512) continue;
    if (cpu_isa_available(isa)) best = isa;
  }
  return best;
}

std::span<const CpuIsa> all_cpu_isas() { return kAll; }

const KernelTable* find_kernel(CpuIsa isa, KvDtype dtype) {
#if defined(FIELDPRINT_X86_KERNELS)
  switch (isa) {
    case CpuIsa::kScalar:
      return scalar_kernel(dtype);
    case CpuIsa::kAvx2:
      return avx2_kernel(dtype);
    case CpuIsa::kAvx512:
      return avx512_kernel(dtype);
    case CpuIsa::kAvx512Bf16:
      return avx512_bf16_kernel(dtype);
  }
  FP_UNREACHABLE();
#else
  return isa == CpuIsa::kScalar ? scalar_kernel(dtype) : nullptr;
#endif
}

}  // namespace fieldprint
