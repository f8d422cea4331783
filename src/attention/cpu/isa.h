// Which instruction sets the CPU kernels exist for, and which this machine has.
// Results are bit-identical within one ISA only; across ISAs they agree within
// rounding (vdpbf16ps rounds differently from FMA). The ISA is therefore part of
// the numeric profile.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "core/error.h"

namespace fieldprint {

enum class CpuIsa : std::uint8_t {
  kScalar,      // portable C++
  kAvx2,        // AVX2 + FMA
  kAvx512,      // AVX-512 F/BW/DQ/VL
  kAvx512Bf16,  // + AVX512_BF16
};

// "scalar", "avx2", "avx512", "avx512_bf16": stable, used in profiles and reports.
std::string_view cpu_isa_name(CpuIsa isa);
// The inverse of cpu_isa_name. Error attention_isa_unknown.
Result<CpuIsa> cpu_isa_from_name(std::string_view name);

// Whether this build has the kernel and this machine (and its OS) can run it.
bool cpu_isa_available(CpuIsa isa);
// The fastest available one on this make of CPU.
CpuIsa best_cpu_isa();
// All of them, in the order of the enum.
std::span<const CpuIsa> all_cpu_isas();

}  // namespace fieldprint
