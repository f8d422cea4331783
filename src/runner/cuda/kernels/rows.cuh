// Element-wise work between the products: bias and QK norm, the gated activation, row gathers,
// the mean of the class masses.
#pragma once

#include "runner/cuda/kernels.h"
#include "runner/cuda/kernels/common.cuh"
#include "runner/cuda/kernels/gated.cuh"

namespace fieldprint::cuda {

inline constexpr int kRowThreads = 256;
inline constexpr int kHeadWarps = 4;
inline constexpr int kMaxLaneElements = 8;  // head_dim up to 256

// qkv += bias; then each q and k head is RMS-normed where the model has such weights. One warp
// per (row, head), in place, bf16.
__global__ void __launch_bounds__(kHeadWarps * 32) qkv_finish_kernel(QkvFinishArgs args) {
  const int heads = args.heads + 2 * args.kv_heads;
  const int item = static_cast<int>(blockIdx.x) * kHeadWarps + static_cast<int>(threadIdx.x / 32);
  if (item >= args.rows * heads) return;
  const int head = item % heads;
  const int lane = static_cast<int>(threadIdx.x % 32);
  auto* x = static_cast<__nv_bfloat16*>(args.qkv) + static_cast<std::size_t>(item) * args.head_dim;
  const bool is_q = head < args.heads;
  const bool is_v = head >= args.heads + args.kv_heads;
  const float* norm = is_q ? args.q_norm : (is_v ? nullptr : args.k_norm);
  const float* bias =
      args.bias == nullptr ? nullptr : args.bias + static_cast<std::size_t>(head) * args.head_dim;
  if (norm == nullptr && bias == nullptr) return;
  float values[kMaxLaneElements];
  float sum = 0.0F;
#pragma unroll
  for (int i = 0; i < kMaxLaneElements; ++i) {
    const int at = i * 32 + lane;
    values[i] = at < args.head_dim ? __bfloat162float(x[at]) : 0.0F;
    if (bias != nullptr && at < args.head_dim) values[i] += bias[at];
    sum += values[i] * values[i];
  }
  const float scale = rsqrtf(warp_sum(sum) / static_cast<float>(args.head_dim) + args.eps);
#pragma unroll
  for (int i = 0; i < kMaxLaneElements; ++i) {
    const int at = i * 32 + lane;
    if (at >= args.head_dim) continue;
    const float y = norm == nullptr ? values[i] : values[i] * scale * norm[at];
    x[at] = __float2bfloat16_rn(y);
  }
}

template <bool kGelu>
__device__ __forceinline__ float gated(std::uint32_t gate_and_up) {
  const float2 pair = unpack_pair(gate_and_up);
  return (kGelu ? gelu(pair.x) : silu(pair.x)) * pair.y;
}

// gated[i] = activation(gate[i]) * up[i]; gate and up lie side by side, element by element.
template <bool kGelu>
__global__ void __launch_bounds__(kRowThreads) gate_kernel(GateArgs args) {
  const std::size_t at = static_cast<std::size_t>(blockIdx.x) * kRowThreads + threadIdx.x;
  launch_dependents();
  wait_for_previous_kernel();
  if (at < args.elements / 4) {
    const uint4 in = static_cast<const uint4*>(args.gate_up)[at];
    static_cast<uint2*>(args.gated)[at] = {pack_pair(gated<kGelu>(in.x), gated<kGelu>(in.y)),
                                           pack_pair(gated<kGelu>(in.z), gated<kGelu>(in.w))};
  }
}

// to[i] = from[rows[i]] for both kinds of row. One CTA per row.
__global__ void __launch_bounds__(kRowThreads) gather_kernel(GatherArgs args) {
  const std::size_t from = args.rows[blockIdx.x];
  const std::size_t to = blockIdx.x;
  const auto* wide = reinterpret_cast<const float4*>(args.residual + from * args.hidden);
  auto* wide_to = reinterpret_cast<float4*>(args.residual_to + to * args.hidden);
  for (int i = threadIdx.x; i < args.hidden / 4; i += kRowThreads) wide_to[i] = wide[i];
  const auto* narrow = reinterpret_cast<const uint4*>(
      static_cast<const std::uint16_t*>(args.attended) + from * args.width);
  auto* narrow_to =
      reinterpret_cast<uint4*>(static_cast<std::uint16_t*>(args.attended_to) + to * args.width);
  for (int i = threadIdx.x; i < args.width / 8; i += kRowThreads) narrow_to[i] = narrow[i];
}

// to[places[i]] = residual[rows[i]]; a place of -1 is padding.
__global__ void __launch_bounds__(kRowThreads) tap_kernel(TapArgs args) {
  const int place = args.places[blockIdx.x];
  if (place < 0) return;
  const auto* from = reinterpret_cast<const float4*>(
      args.residual + static_cast<std::size_t>(args.rows[blockIdx.x]) * args.hidden);
  auto* to = reinterpret_cast<float4*>(args.to + static_cast<std::size_t>(place) * args.hidden);
  for (int i = threadIdx.x; i < args.hidden / 4; i += kRowThreads) to[i] = from[i];
}

// mean[sequence][class] over layers and heads, and the status words of the step. One CTA per
// sequence: lane of 8 classes, 32 strands summed in a fixed order.
__global__ void __launch_bounds__(kRowThreads) mass_kernel(MassArgs args) {
  const int cls = static_cast<int>(threadIdx.x % 8);
  const int strand = static_cast<int>(threadIdx.x / 8);
  float sum = 0.0F;
  const int items = args.layers * args.heads;
  for (int i = strand; i < items; i += kRowThreads / 8) {
    const int layer = i / args.heads;
    const int head = i % args.heads;
    const std::size_t row = static_cast<std::size_t>(layer) * args.layer_stride +
                            static_cast<std::size_t>(blockIdx.x) * args.heads + head;
    sum += args.mass[row * 8 + cls];
  }
  __shared__ float strands[kRowThreads];
  strands[threadIdx.x] = sum;
  __syncthreads();
  if (strand == 0) {
    float total = 0.0F;
    for (int i = 0; i < kRowThreads / 8; ++i) total += strands[i * 8 + cls];
    args.mean[blockIdx.x * 8 + cls] = items == 0 ? 0.0F : total / static_cast<float>(items);
  }
  if (blockIdx.x == 0 && threadIdx.x < kStatusWords) {
    const std::uint32_t* word = args.status[threadIdx.x];
    args.status_out[threadIdx.x] = word == nullptr ? 0 : *word;
  }
}

inline constexpr int kArgmaxThreads = 1024;

// The greater of two candidates, of equals the one that comes first. NaN never wins.
struct Candidate {
  float value;
  int place;

  __device__ __forceinline__ void consider(float other, int at) {
    if (other > value || (other == value && at < place)) {
      value = other;
      place = at;
    }
  }
};

// One CTA per row.
__global__ void __launch_bounds__(kArgmaxThreads)
    argmax_kernel(const float* logits, std::int32_t* best, int vocab) {
  const float* row = logits + static_cast<std::size_t>(blockIdx.x) * vocab;
  Candidate mine{-INFINITY, 0};
#pragma unroll 8
  for (int i = static_cast<int>(threadIdx.x); i < vocab; i += kArgmaxThreads) {
    mine.consider(row[i], i);
  }
  const auto over_lanes = [&] {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
      const float value = __shfl_xor_sync(0xFFFFFFFFU, mine.value, step);
      mine.consider(value, __shfl_xor_sync(0xFFFFFFFFU, mine.place, step));
    }
  };
  __shared__ Candidate warps[kArgmaxThreads / 32];
  over_lanes();
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = mine;
  __syncthreads();
  if (threadIdx.x >= 32) return;
  mine = warps[threadIdx.x];
  over_lanes();
  if (threadIdx.x == 0) best[blockIdx.x] = mine.place;
}

// Every 16 bytes once, eight loads under way per thread.
__global__ void __launch_bounds__(kRowThreads) read_kernel(const uint4* data, std::size_t count) {
  constexpr int kAhead = 8;
  const std::size_t step = static_cast<std::size_t>(gridDim.x) * kRowThreads;
  std::uint32_t seen = 0;
  for (std::size_t at = static_cast<std::size_t>(blockIdx.x) * kRowThreads + threadIdx.x;
       at < count; at += kAhead * step) {
    uint4 values[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const std::size_t place = at + i * step;
      values[i] = place < count ? __ldcs(data + place) : uint4{0, 0, 0, 0};
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      seen |= values[i].x ^ values[i].y ^ values[i].z ^ values[i].w;
    }
  }
  if (seen == 0xFFFFFFFFU) asm volatile("trap;");  // never: the loads must not be left out
}

}  // namespace fieldprint::cuda
