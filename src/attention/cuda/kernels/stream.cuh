// Reads every K and V page of a step's page tables and does nothing else: the ceiling
// that decode figures are compared with. Plain 16-byte loads, 16 in flight per thread.
#pragma once

#include "attention/cuda/kernels/params.cuh"

namespace fieldprint::cuda {

inline constexpr int kStreamThreads = 256;

struct StreamArgs {
  TableView table;
  ShapeView shape;
  const void* k;
  const void* v;
  std::uint32_t* sink;  // written only if a checksum hits a magic value, so never removed
};

// One warp reads one (sequence, page, KV head) at a time. Only full pages are counted
// as read, so benchmarks use full pages.
template <int kDim>
__global__ void __launch_bounds__(kStreamThreads, 3) stream_kernel(const StreamArgs args) {
  const int lane = threadIdx.x & 31;
  const int warps = gridDim.x * (kStreamThreads / 32);
  const int slabs_per_page = 1 << args.shape.log2_slabs_per_page;
  constexpr int kLoads = kSlabRows * kDim * 2 / 512;  // 16-byte loads per lane, K or V of a slab
  std::uint32_t mix = 0;
  for (int sequence = 0; sequence < args.table.batch; ++sequence) {
    const int units = args.table.page_counts[sequence] * args.shape.kv_heads;
    const int skew = sequence * 37;  // spreads the remainder of each sequence over warps
    const int warp = (blockIdx.x * (kStreamThreads / 32) + (threadIdx.x >> 5) + skew) % warps;
    for (int unit = warp; unit < units; unit += warps) {
      const int page = unit / args.shape.kv_heads;
      const int head = unit - page * args.shape.kv_heads;
      const std::size_t at = static_cast<std::size_t>(sequence) * args.table.page_stride + page;
      const std::size_t slab =
          (static_cast<std::size_t>(__ldg(args.table.pages + at) >> 9) * args.shape.kv_heads + head)
          << args.shape.log2_slabs_per_page;
      for (int s = 0; s < slabs_per_page; ++s) {
        const std::size_t first = (slab + s) * kLoads * 32 + lane;
        int4 data[2 * kLoads];
#pragma unroll
        for (int i = 0; i < kLoads; ++i) {
          data[i] = __ldcs(static_cast<const int4*>(args.k) + first + i * 32);
          data[i + kLoads] = __ldcs(static_cast<const int4*>(args.v) + first + i * 32);
        }
#pragma unroll
        for (const int4& x : data) mix ^= x.x ^ x.y ^ x.z ^ x.w;
      }
    }
  }
  if (mix == 0x5EEDF00DU) *args.sink = mix;
}

}  // namespace fieldprint::cuda
