// What the two AVX-512 kernels share: arithmetic on 16 fp32 lanes (the operations that
// leaf_kernel.h asks for).
//
// In an anonymous namespace on purpose: each kernel file is compiled for its own instructions,
// and an inline symbol shared by both could be the bf16 file's, run on a CPU without bf16.
#pragma once

#include <immintrin.h>

namespace fieldprint {
namespace {

struct Avx512Floats {
  using F = __m512;
  static constexpr int kLanes = 16;

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
};

}  // namespace
}  // namespace fieldprint
