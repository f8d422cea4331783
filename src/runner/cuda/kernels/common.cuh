// Small device helpers of the runner's kernels.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "attention/cuda/kernels/ptx.cuh"

namespace fieldprint::cuda {

__device__ __forceinline__ float2 unpack_pair(std::uint32_t pair) {
  return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xFFFF0000U)};
}
__device__ __forceinline__ std::uint32_t pack_pair(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const std::uint32_t&>(pair);
}

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int i = 16; i > 0; i /= 2) x += __shfl_xor_sync(0xFFFFFFFFU, x, i);
  return x;
}

// Of all threads of the CTA, in a fixed order; everyone gets it. kWarps: its warps.
template <int kWarps>
__device__ __forceinline__ float cta_sum(float x) {
  __shared__ float parts[kWarps];
  x = warp_sum(x);
  __syncthreads();  // the last call's readers are done
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
  __syncthreads();
  float sum = 0.0F;
#pragma unroll
  for (int i = 0; i < kWarps; ++i) sum += parts[i];
  return sum;
}

}  // namespace fieldprint::cuda
