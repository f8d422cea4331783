// AVX-512 without the bf16 extension: bf16 pairs are widened by shifts, p stays fp32.
#include <immintrin.h>

#include "attention/cpu/avx512_floats.h"
#include "attention/cpu/leaf_kernel.h"

namespace fieldprint {
namespace {

template <KvDtype kDtype>
struct Avx512 : Avx512Floats {
  using Elem = float;
  struct Pair {
    F first, second;
  };
  struct Bcast {
    F first, second;
  };
  static constexpr int kKvBytes = kDtype == KvDtype::kBf16 ? 2 : 4;
  // Many rows spread the two widening instructions per load; few rows need several
  // loads in flight to hide the latency of FMA. 26 or 30 of the 32 registers.
  static constexpr int kRows = 12;
  static constexpr int pages_at_once(int rows) { return rows <= 4 ? 4 : 2; }
  static constexpr int vectors_at_once(int rows) { return rows <= 4 ? 4 : 2; }

  static F low_half(__m512i both) { return _mm512_castsi512_ps(_mm512_slli_epi32(both, 16)); }
  static F high_half(__m512i both) {
    return _mm512_castsi512_ps(
        _mm512_and_si512(both, _mm512_set1_epi32(static_cast<int>(0xFFFF0000U))));
  }
  static Pair load_pair(const std::byte* block, int pair, int lane, int width) {
    if constexpr (kDtype == KvDtype::kBf16) {
      const __m512i both = _mm512_loadu_si512(block + (std::ptrdiff_t{pair} * width + lane) * 4);
      return {low_half(both), high_half(both)};
    } else {
      const float* row = reinterpret_cast<const float*>(block) + std::ptrdiff_t{2} * pair * width;
      return {load(row + lane), load(row + width + lane)};
    }
  }
  static Bcast bcast(const Elem* p, int pair) { return {set1(p[2 * pair]), set1(p[2 * pair + 1])}; }
  static F dot(F acc, const Pair& kv, const Bcast& w) {
    return fma(kv.second, w.second, fma(kv.first, w.first, acc));
  }
  static void store_probs(Elem* p, F x) { store(p, x); }
  static void store_query(Elem* p, F x) {
    if constexpr (kDtype == KvDtype::kBf16) {
      // Round to nearest even in integers; a NaN query stays NaN through the mask.
      const __m512i bits = _mm512_castps_si512(x);
      const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
      const __m512i sum = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd);
      const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
      x = _mm512_mask_mov_ps(high_half(sum), nan, x);
    }
    store(p, x);
  }
  static void copy_first_of_pair(const std::byte* block, int pair, int head_dim, std::byte* out) {
    for (int d = 0; d < head_dim; d += kLanes) {
      if constexpr (kDtype == KvDtype::kBf16) {
        const __m512i both = _mm512_loadu_si512(block + (std::ptrdiff_t{pair} * head_dim + d) * 4);
        _mm512_storeu_si512(out + d * 4, _mm512_and_si512(both, _mm512_set1_epi32(0xFFFF)));
      } else {
        float* rows = reinterpret_cast<float*>(out);
        store(rows + d, load_pair(block, pair, d, head_dim).first);
        store(rows + head_dim + d, zero());
      }
    }
  }
};

constexpr KernelTable kBf16Table = LeafKernel<Avx512<KvDtype::kBf16>>::table(CpuIsa::kAvx512);
constexpr KernelTable kF32Table = LeafKernel<Avx512<KvDtype::kF32>>::table(CpuIsa::kAvx512);

}  // namespace

const KernelTable* avx512_kernel(KvDtype dtype) {
  return dtype == KvDtype::kBf16 ? &kBf16Table : &kF32Table;
}

}  // namespace fieldprint
