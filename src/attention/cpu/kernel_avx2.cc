// AVX2 + FMA: eight lanes, bf16 pairs widened by shifts, p stays fp32.
#include <immintrin.h>

#include "attention/cpu/leaf_kernel.h"

namespace fieldprint {
namespace {

template <KvDtype kDtype>
struct Avx2 {
  using F = __m256;
  using Elem = float;
  struct Pair {
    F first, second;
  };
  struct Bcast {
    F first, second;
  };
  static constexpr int kLanes = 8;
  static constexpr int kKvBytes = kDtype == KvDtype::kBf16 ? 2 : 4;
  // 8 accumulators, 4 widened K or V vectors and 2 broadcasts of the 16 registers.
  static constexpr int kRows = 4;
  static constexpr int pages_at_once(int) { return 1; }
  static constexpr int vectors_at_once(int) { return 2; }

  static F zero() { return _mm256_setzero_ps(); }
  static F set1(float x) { return _mm256_set1_ps(x); }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, F x) { _mm256_storeu_ps(p, x); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F max(F a, F b) { return _mm256_max_ps(a, b); }
  static float hmax(F x) {
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_max_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_max_ss(y, _mm_movehdup_ps(y)));
  }
  static float hsum(F x) {
    __m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_add_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_add_ss(y, _mm_movehdup_ps(y)));
  }
  static F round(F x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static F scale_or_zero(F g, F n, F x) {
    // 2^n by exponent bits, valid for n >= -126; smaller and -inf are masked to 0.
    const __m256i power =
        _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    const F normal = _mm256_cmp_ps(x, set1(-126.0F), _CMP_GE_OQ);
    return _mm256_and_ps(mul(g, _mm256_castsi256_ps(power)), normal);
  }
  static F keep_lanes(F x, int lo, int hi) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i below_hi = _mm256_cmpgt_epi32(_mm256_set1_epi32(hi), lane);
    const __m256i below_lo = _mm256_cmpgt_epi32(_mm256_set1_epi32(lo), lane);
    const __m256i keep = _mm256_andnot_si256(below_lo, below_hi);
    return _mm256_blendv_ps(set1(-__builtin_inff()), x, _mm256_castsi256_ps(keep));
  }
  static __m256i load_ints(const std::byte* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static F low_half(__m256i both) { return _mm256_castsi256_ps(_mm256_slli_epi32(both, 16)); }
  static F high_half(__m256i both) {
    return _mm256_castsi256_ps(
        _mm256_and_si256(both, _mm256_set1_epi32(static_cast<int>(0xFFFF0000U))));
  }
  static Pair load_pair(const std::byte* block, int pair, int lane, int width) {
    if constexpr (kDtype == KvDtype::kBf16) {
      const __m256i both = load_ints(block + (std::ptrdiff_t{pair} * width + lane) * 4);
      return {low_half(both), high_half(both)};
    } else {
      const float* row = reinterpret_cast<const float*>(block) + std::ptrdiff_t{2} * pair * width;
      return {load(row + lane), load(row + width + lane)};
    }
  }
  static Bcast bcast(const Elem* p, int pair) {
    return {_mm256_broadcast_ss(p + 2 * pair), _mm256_broadcast_ss(p + 2 * pair + 1)};
  }
  static F dot(F acc, const Pair& kv, const Bcast& w) {
    return fma(kv.second, w.second, fma(kv.first, w.first, acc));
  }
  static void store_probs(Elem* p, F x) { store(p, x); }
  static void store_query(Elem* p, F x) {
    if constexpr (kDtype == KvDtype::kBf16) {
      // Round to nearest even in integers; a NaN query stays NaN through the blend.
      const __m256i bits = _mm256_castps_si256(x);
      const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
      const __m256i sum = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFF)), odd);
      x = _mm256_blendv_ps(high_half(sum), x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    }
    store(p, x);
  }
  static void copy_first_of_pair(const std::byte* block, int pair, int head_dim, std::byte* out) {
    for (int d = 0; d < head_dim; d += kLanes) {
      if constexpr (kDtype == KvDtype::kBf16) {
        const __m256i both = load_ints(block + (std::ptrdiff_t{pair} * head_dim + d) * 4);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + d * 4),
                            _mm256_and_si256(both, _mm256_set1_epi32(0xFFFF)));
      } else {
        float* rows = reinterpret_cast<float*>(out);
        store(rows + d, load_pair(block, pair, d, head_dim).first);
        store(rows + head_dim + d, zero());
      }
    }
  }
};

constexpr KernelTable kBf16Table = LeafKernel<Avx2<KvDtype::kBf16>>::table(CpuIsa::kAvx2);
constexpr KernelTable kF32Table = LeafKernel<Avx2<KvDtype::kF32>>::table(CpuIsa::kAvx2);

}  // namespace

const KernelTable* avx2_kernel(KvDtype dtype) {
  return dtype == KvDtype::kBf16 ? &kBf16Table : &kF32Table;
}

}  // namespace fieldprint
