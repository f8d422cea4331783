// The body of the launches of prefill_launch.h.
#pragma once

#include <cstring>

#include "attention/cuda/kernels/prefill.cuh"
#include "attention/cuda/prefill_launch.h"

namespace fieldprint::cuda {

template <int kDim, bool kWindow>
cudaError_t launch_prefill(const fp_attn_pool& pool, const PrefillArgs& args, int ctas,
                           cudaStream_t stream) {
  alignas(64) CUtensorMap maps[2];
  std::memcpy(&maps[0], pool.k_tile_map, sizeof(CUtensorMap));
  std::memcpy(&maps[1], pool.v_tile_map, sizeof(CUtensorMap));
  constexpr auto kBytes = sizeof(PrefillShared<kDim>);
  const auto kernel = prefill_kernel<kDim, kWindow>;
  const cudaError_t error = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kBytes));
  if (error != cudaSuccess) return error;
  kernel<<<ctas, kPrefillThreads, kBytes, stream>>>(maps[0], maps[1], args);
  return cudaGetLastError();
}

template <int kDim>
cudaError_t launch_prefill(const fp_attn_pool& pool, const PrefillArgs& args, int ctas,
                           cudaStream_t stream) {
  return args.window == 0 ? launch_prefill<kDim, false>(pool, args, ctas, stream)
                          : launch_prefill<kDim, true>(pool, args, ctas, stream);
}

}  // namespace fieldprint::cuda
