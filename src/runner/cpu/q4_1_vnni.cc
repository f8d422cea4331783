// Compiled with AVX-512 VNNI flags; called only where available() says so.
#include <immintrin.h>

#include <cstring>

#include "runner/cpu/q4_1.h"

namespace fieldprint::q4_1 {
namespace {

// Tokens that share one unpacking of a panel block: 8 weight registers, a float sum
// and an integer sum per token.
constexpr int kTokenTile = 8;

inline __m512 halves(const std::uint16_t* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

inline __m512i quad(const std::int8_t* at) {
  std::int32_t four = 0;
  std::memcpy(&four, at, sizeof four);
  return _mm512_set1_epi32(four);
}

// One panel times T tokens.
template <int T>
void panel_product(const PanelBlock* panel, std::int64_t columns, const QuantisedRows& x,
                   std::int64_t token, float* out, std::int64_t out_stride) {
  const std::int64_t blocks = columns / kBlock;
  const __m512i low = _mm512_set1_epi8(0x0F);
  __m512 total[T];
  for (int t = 0; t < T; ++t) total[t] = _mm512_setzero_ps();
  for (std::int64_t b = 0; b < blocks; ++b) {
    __m512i w[8];
    for (int j = 0; j < 4; ++j) {
      const __m512i packed = _mm512_load_si512(panel[b].quads[j]);
      w[j] = _mm512_and_si512(packed, low);
      w[j + 4] = _mm512_and_si512(_mm512_srli_epi16(packed, 4), low);
    }
    const __m512 d = halves(panel[b].d);
    const __m512 m = halves(panel[b].m);
    for (int t = 0; t < T; ++t) {
      const std::int8_t* a = x.values + (token + t) * columns + b * kBlock;
      // Two chains: one token alone would wait for the latency of each step.
      __m512i even = _mm512_setzero_si512();
      __m512i odd = _mm512_setzero_si512();
      for (int j = 0; j < 8; j += 2) {
        even = _mm512_dpbusd_epi32(even, w[j], quad(a + 4 * j));
        odd = _mm512_dpbusd_epi32(odd, w[j + 1], quad(a + 4 * j + 4));
      }
      const __m512 dot = _mm512_cvtepi32_ps(_mm512_add_epi32(even, odd));
      const std::int64_t at = (token + t) * blocks + b;
      total[t] = _mm512_fmadd_ps(_mm512_mul_ps(dot, d), _mm512_set1_ps(x.scale[at]), total[t]);
      total[t] = _mm512_fmadd_ps(m, _mm512_set1_ps(x.sum[at]), total[t]);
    }
  }
  for (int t = 0; t < T; ++t) _mm512_storeu_ps(out + (token + t) * out_stride, total[t]);
}

using PanelFunction = void (*)(const PanelBlock*, std::int64_t, const QuantisedRows&, std::int64_t,
                               float*, std::int64_t);
constexpr PanelFunction kPanelFunctions[kTokenTile] = {
    panel_product<1>, panel_product<2>, panel_product<3>, panel_product<4>,
    panel_product<5>, panel_product<6>, panel_product<7>, panel_product<8>};

}  // namespace

void quantise(const float* x, std::int64_t columns, std::int64_t row, std::int64_t begin,
              std::int64_t end, const QuantisedRows& to) {
  const std::int64_t blocks = columns / kBlock;
  for (std::int64_t b = begin; b < end; ++b) {
    const __m512 first = _mm512_loadu_ps(x + b * kBlock);
    const __m512 second = _mm512_loadu_ps(x + b * kBlock + 16);
    const float top =
        _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(first), _mm512_abs_ps(second)));
    const float scale = top / 127.0F;
    const __m512 inverse = _mm512_set1_ps(top > 0 ? 127.0F / top : 0.0F);
    const __m512i a = _mm512_cvtps_epi32(_mm512_mul_ps(first, inverse));
    const __m512i c = _mm512_cvtps_epi32(_mm512_mul_ps(second, inverse));
    auto* values = reinterpret_cast<__m128i*>(to.values + row * columns + b * kBlock);
    _mm_storeu_si128(values, _mm512_cvtsepi32_epi8(a));
    _mm_storeu_si128(values + 1, _mm512_cvtsepi32_epi8(c));
    to.scale[row * blocks + b] = scale;
    to.sum[row * blocks + b] =
        scale * static_cast<float>(_mm512_reduce_add_epi32(_mm512_add_epi32(a, c)));
  }
}

void product(const PackedMatrix& weight, const QuantisedRows& x, std::int64_t tokens,
             std::int64_t begin, std::int64_t end, float* out, std::int64_t out_stride) {
  const std::int64_t blocks = weight.columns / kBlock;
  for (std::int64_t p = begin; p < end; ++p) {
    const PanelBlock* panel = weight.panels + p * blocks;
    for (std::int64_t token = 0; token < tokens; token += kTokenTile) {
      const std::int64_t left = tokens - token;
      const auto tile = static_cast<std::size_t>(left < kTokenTile ? left : kTokenTile);
      kPanelFunctions[tile - 1](panel, weight.columns, x, token, out + p * kPanelRows, out_stride);
    }
  }
}

}  // namespace fieldprint::q4_1
