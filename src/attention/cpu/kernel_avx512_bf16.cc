// AVX-512 with vdpbf16ps: two bf16 products per lane and instruction.
#include <immintrin.h>

#include "attention/cpu/avx512_floats.h"
#include "attention/cpu/leaf_kernel.h"

namespace fieldprint {
namespace {

struct Avx512Bf16 : Avx512Floats {
  using Elem = std::uint16_t;
  using Pair = __m512i;
  using Bcast = __m512i;
  static constexpr int kKvBytes = 2;
  // 24 accumulators, 4 loads and a broadcast of the 32 registers.
  static constexpr int kRows = 6;
  static constexpr int pages_at_once(int) { return 4; }
  static constexpr int vectors_at_once(int) { return 4; }

  static Pair load_pair(const std::byte* block, int pair, int lane, int width) {
    return _mm512_loadu_si512(block + (std::ptrdiff_t{pair} * width + lane) * 4);
  }
  static Bcast bcast(const Elem* p, int pair) {
    return _mm512_set1_epi32(reinterpret_cast<const std::int32_t*>(p)[pair]);
  }
  static F dot(F acc, Pair kv, Bcast w) {
    return _mm512_dpbf16_ps(acc, reinterpret_cast<__m512bh>(kv), reinterpret_cast<__m512bh>(w));
  }
  static void store_bf16(Elem* p, F x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)));
  }
  static void store_probs(Elem* p, F x) { store_bf16(p, x); }
  static void store_query(Elem* p, F x) { store_bf16(p, x); }
  static void copy_first_of_pair(const std::byte* block, int pair, int head_dim, std::byte* out) {
    for (int d = 0; d < head_dim; d += kLanes) {
      const Pair both = load_pair(block, pair, d, head_dim);
      _mm512_storeu_si512(out + d * 4, _mm512_and_si512(both, _mm512_set1_epi32(0xFFFF)));
    }
  }
};

constexpr KernelTable kTable = LeafKernel<Avx512Bf16>::table(CpuIsa::kAvx512Bf16);

}  // namespace

const KernelTable* avx512_bf16_kernel(KvDtype dtype) {
  return dtype == KvDtype::kBf16 ? &kTable : avx512_kernel(dtype);
}

}  // namespace fieldprint
