// Compiled with AVX-512 VNNI flags; called only where available() says so.
#include <immintrin.h>

#include <cstring>

#include "runner/cpu/panels.h"

namespace fieldprint::panels {
namespace {

// Tokens that share one unpacking of a panel's block: 8 weight registers, a float sum
// and two integer sums per token.
constexpr int kTokenTile = 8;

inline __m512 halves(const std::uint16_t* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

inline __m512i broadcast_quad(const std::int8_t* at) {
  std::int32_t four = 0;
  std::memcpy(&four, at, sizeof four);
  return _mm512_set1_epi32(four);
}

template <Format F>
inline void load_block(const std::uint8_t* quads, std::int64_t block, __m512i (&w)[8]) {
  if constexpr (F == Format::kQ41) {
    const __m512i low = _mm512_set1_epi8(0x0F);
    for (int j = 0; j < 4; ++j) {
      const __m512i packed = _mm512_load_si512(quads + (block * 4 + j) * 64);
      w[j] = _mm512_and_si512(packed, low);
      w[j + 4] = _mm512_and_si512(_mm512_srli_epi16(packed, 4), low);
    }
  } else {
    for (int j = 0; j < 8; ++j) w[j] = _mm512_load_si512(quads + (block * 8 + j) * 64);
  }
}

// One panel times T tokens.
template <Format F, int T>
void panel_product(const std::byte* data, std::int64_t columns, const QuantisedRows& x,
                   std::int64_t token, float* out, std::int64_t out_stride) {
  const PanelView panel = panel_view(F, const_cast<std::byte*>(data), columns);
  const std::int64_t blocks = columns / kBlock;
  __m512 total[T];
  for (int t = 0; t < T; ++t) total[t] = _mm512_setzero_ps();
  for (std::int64_t b = 0; b < blocks; ++b) {
    __m512i w[8];
    load_block<F>(panel.quads, b, w);
    const __m512 d = halves(panel.d + b * kPanelRows);
    for (int t = 0; t < T; ++t) {
      const std::int8_t* a = x.values + (token + t) * columns + b * kBlock;
      const std::int64_t at = (token + t) * blocks + b;
      // Two chains: one token alone would wait for the latency of each step. Q8_0
      // starts at what the bytes' offset of 128 adds.
      __m512i even =
          F == Format::kQ41 ? _mm512_setzero_si512() : _mm512_set1_epi32(-128 * x.total[at]);
      __m512i odd = _mm512_setzero_si512();
      for (int j = 0; j < 8; j += 2) {
        even = _mm512_dpbusd_epi32(even, w[j], broadcast_quad(a + 4 * j));
        odd = _mm512_dpbusd_epi32(odd, w[j + 1], broadcast_quad(a + 4 * j + 4));
      }
      const __m512 dot = _mm512_cvtepi32_ps(_mm512_add_epi32(even, odd));
      total[t] = _mm512_fmadd_ps(_mm512_mul_ps(dot, d), _mm512_set1_ps(x.scale[at]), total[t]);
      if constexpr (F == Format::kQ41) {
        const __m512 m = halves(panel.m + b * kPanelRows);
        total[t] = _mm512_fmadd_ps(m, _mm512_set1_ps(x.scaled_total[at]), total[t]);
      }
    }
  }
  for (int t = 0; t < T; ++t) _mm512_storeu_ps(out + (token + t) * out_stride, total[t]);
}

using PanelFunction = void (*)(const std::byte*, std::int64_t, const QuantisedRows&, std::int64_t,
                               float*, std::int64_t);
template <Format F>
constexpr PanelFunction kPanelFunctions[kTokenTile] = {
    panel_product<F, 1>, panel_product<F, 2>, panel_product<F, 3>, panel_product<F, 4>,
    panel_product<F, 5>, panel_product<F, 6>, panel_product<F, 7>, panel_product<F, 8>};

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
    const std::int32_t total = _mm512_reduce_add_epi32(_mm512_add_epi32(a, c));
    to.scale[row * blocks + b] = scale;
    to.total[row * blocks + b] = total;
    to.scaled_total[row * blocks + b] = scale * static_cast<float>(total);
  }
}

void product(const PackedMatrix& weight, const QuantisedRows& x, std::int64_t tokens,
             std::int64_t begin, std::int64_t end, float* out, std::int64_t out_stride) {
  const std::size_t bytes = panel_bytes(weight.format, weight.columns);
  const auto& functions =
      weight.format == Format::kQ41 ? kPanelFunctions<Format::kQ41> : kPanelFunctions<Format::kQ80>;
  for (std::int64_t p = begin; p < end; ++p) {
    const std::byte* panel = weight.data + static_cast<std::size_t>(p) * bytes;
    for (std::int64_t token = 0; token < tokens; token += kTokenTile) {
      const std::int64_t left = tokens - token;
      const auto tile = static_cast<std::size_t>(left < kTokenTile ? left : kTokenTile);
      functions[tile - 1](panel, weight.columns, x, token, out + p * kPanelRows, out_stride);
    }
  }
}

}  // namespace fieldprint::panels
