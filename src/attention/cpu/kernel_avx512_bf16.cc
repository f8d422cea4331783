// AVX-512 with vdpbf16ps: two bf16 products per lane and instruction.
#include <immintrin.h>

#include "attention/cpu/leaf_kernel.h"

namespace fieldprint {
namespace {

struct Avx512Bf16 {
  using F = __m512;
  using Elem = std::uint16_t;
  using Pair = __m512i;
  using Bcast = __m512i;
  static constexpr int kLanes = 16;
  static constexpr int kKvBytes = 2;
  // 24 accumulators, 4 loads and a broadcast of the 32 registers.
  static constexpr int kRows = 6;
  static constexpr int pages_at_once(int) { return 4; }
  static constexpr int vectors_at_once(int) { return 4; }

  static F zero() { return _mm512_setzero_ps(); }
  static F set1(float x) { return _mm512_set1_ps(x); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, F x) { _mm512_storeu_ps(p, x); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static float hmax(F x) { return _mm512_reduce_max_ps(x); }
  static float hsum(F x) { return _mm512_reduce_add_ps(x); }
  static F round(F x) {
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static F scale_or_zero(F g, F n, F x) {
    const __mmask16 normal = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-126.0F), _CMP_GE_OQ);
    return _mm512_maskz_scalef_ps(normal, g, n);
  }
  static F keep_lanes(F x, int lo, int hi) {
    const unsigned below_hi = hi <= 0 ? 0U : (hi >= kLanes ? 0xFFFFU : (1U << hi) - 1U);
    const unsigned below_lo = lo <= 0 ? 0U : (lo >= kLanes ? 0xFFFFU : (1U << lo) - 1U);
    return _mm512_mask_mov_ps(_mm512_set1_ps(-__builtin_inff()),
                              static_cast<__mmask16>(below_hi & ~below_lo), x);
  }
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
