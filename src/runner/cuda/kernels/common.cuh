// Small device helpers of the runner's kernels.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

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

// Programmatic dependent launch: the next kernel of the stream may start once every CTA of this
// one has said launch_dependents(), and must not touch what earlier kernels wrote before it has
// waited: then all of them are complete. Both do nothing for a launch without the attribute.
// Every kernel launched with it waits, so completion carries over from kernel to kernel.
__device__ __forceinline__ void launch_dependents() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}
__device__ __forceinline__ void wait_for_previous() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}

}  // namespace fieldprint::cuda
