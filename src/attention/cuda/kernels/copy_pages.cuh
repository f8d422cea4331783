// Copies pages of all layers: the copy-on-write list of a step.
//
// A chunk of a page is one CTA's turn; every thread has kCopyLoads 16-byte loads in flight,
// and the next chunk's page ids arrive meanwhile.
#pragma once

#include "attention/cuda/kernels/kv_params.cuh"

namespace fieldprint::cuda {

inline constexpr int kCopyThreads = 256;
inline constexpr int kCopyCtas = 4;   // resident per multiprocessor
inline constexpr int kCopyWaves = 8;  // more CTAs than fit, so that fast ones take more
inline constexpr int kCopyLoads = 8;
inline constexpr int kCopyVectors = kCopyLoads * kCopyThreads;

// Chunk number -> where it lies: chunk in the page, then pair, then K or V, then layer.
struct CopyChunk {
  int pair;
  int layer;
  bool is_v;
  int first;  // vector in the page

  __device__ __forceinline__ CopyChunk(const CopyArgs& args, std::uint32_t index, int count) {
    const auto chunks = static_cast<std::uint32_t>(args.chunks_per_page);
    const std::uint32_t page = index / chunks;
    const std::uint32_t pool = page / static_cast<std::uint32_t>(count);
    pair = static_cast<int>(page - pool * static_cast<std::uint32_t>(count));
    first = static_cast<int>(index - page * chunks) * kCopyVectors;
    layer = static_cast<int>(pool >> 1);
    is_v = (pool & 1U) != 0;
  }
};

__device__ __forceinline__ bool copyable(const CopyArgs& args, const fp_kv_page_pair& pair) {
  return pair.from >= 0 && pair.from < args.pool_pages && pair.to >= 0 && pair.to < args.pool_pages;
}

// Whether the pair's target occurs in another pair. All threads of the CTA call it.
__device__ __forceinline__ void check_pair(const CopyArgs& args, int index, int count) {
  const fp_kv_page_pair mine = args.pairs[index];
  std::uint32_t wrong = copyable(args, mine) ? 0 : FP_KV_BAD_PAGE_ID;
  for (int other = threadIdx.x; other < count; other += kCopyThreads) {
    const fp_kv_page_pair pair = args.pairs[other];
    if (pair.from == mine.to || (other != index && pair.to == mine.to)) {
      wrong |= FP_KV_CHAINED_COPIES;
    }
  }
  if (wrong != 0) atomicOr(args.status, wrong);
}

__device__ __forceinline__ void copy_chunk(const CopyArgs& args, const CopyChunk& chunk,
                                           const fp_kv_page_pair& pair) {
  if (!copyable(args, pair)) return;
  auto* pool =
      static_cast<uint4*>(chunk.is_v ? args.pools.v[chunk.layer] : args.pools.k[chunk.layer]);
  const int first = chunk.first + static_cast<int>(threadIdx.x);
  const uint4* from = pool + static_cast<std::int64_t>(pair.from) * args.page_vectors + first;
  uint4* to = pool + static_cast<std::int64_t>(pair.to) * args.page_vectors + first;
  uint4 data[kCopyLoads];
#pragma unroll
  for (int i = 0; i < kCopyLoads; ++i) {
    if (first + i * kCopyThreads < args.page_vectors) data[i] = from[i * kCopyThreads];
  }
#pragma unroll
  for (int i = 0; i < kCopyLoads; ++i) {
    if (first + i * kCopyThreads < args.page_vectors) to[i * kCopyThreads] = data[i];
  }
}

__global__ void __launch_bounds__(kCopyThreads, kCopyCtas)
    copy_pages_kernel(const __grid_constant__ CopyArgs args) {
  const int count = *args.count;
  if (count < 0 || count > args.max_pairs) {
    if (blockIdx.x == 0 && threadIdx.x == 0) atomicOr(args.status, FP_KV_BAD_COUNT);
    return;
  }
  for (int pair = blockIdx.x; pair < count; pair += gridDim.x) check_pair(args, pair, count);
  const auto chunks = static_cast<std::uint32_t>(count * args.layers * 2 * args.chunks_per_page);
  std::uint32_t index = blockIdx.x;
  if (index >= chunks) return;
  CopyChunk chunk(args, index, count);
  fp_kv_page_pair pair = args.pairs[chunk.pair];
  while (true) {
    const std::uint32_t next_index = index + gridDim.x;
    const bool more = next_index < chunks;
    const CopyChunk next(args, more ? next_index : index, count);
    const fp_kv_page_pair next_pair = args.pairs[next.pair];
    copy_chunk(args, chunk, pair);
    if (!more) return;
    index = next_index;
    chunk = next;
    pair = next_pair;
  }
}

}  // namespace fieldprint::cuda
