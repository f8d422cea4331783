// The hash of a KV page's valid rows, for host and device.
//
//   H = sum over 64-bit words of mix(word, place)   mod 2^64
//
// The place of a word is its index in the page's K block [kv_head][row][head_dim], and that
// plus the block's length for V. A sum has no order, so that threads may share the work; the
// place inside mix makes it feel where each word lies. For a given place mix is a bijection
// (an addition, xor-shifts and odd multipliers, those of Stafford's "Mix13"), so a change of
// one word always changes H.
#pragma once

#include <cstdint>

namespace fieldprint::cuda {

#ifdef __CUDACC__
#define FP_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define FP_HOST_DEVICE inline
#endif

FP_HOST_DEVICE std::uint64_t mix_word(std::uint64_t word, std::uint32_t place) {
  std::uint64_t x = word + (std::uint64_t{place} + 1) * 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

#undef FP_HOST_DEVICE

}  // namespace fieldprint::cuda
