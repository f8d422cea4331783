// Products for up to 8 rows of activations, which only stream the weights once.
//
// A CTA computes kGroups * 16 outputs of every row; its 8 warps share the depth between them,
// 64 elements (a 128-byte line of each weight row) at a time, and add up through shared memory in
// a fixed order. A warp multiplies with m16n8k16: 16 weight rows by 8 activation rows. Which
// depth index is which of an instruction's k does not matter as long as both operands agree, so
// a lane takes the 16 bytes it loaded as they are.
//
// Weights do not depend on the kernel before: the first loads are under way before the wait.
#pragma once

#include "runner/cuda/kernels.h"
#include "runner/cuda/kernels/common.cuh"
#include "runner/cuda/kernels/gated.cuh"
#include "runner/cuda/kernels/mma.cuh"

namespace fieldprint::cuda {

inline constexpr int kSkinnyWarps = 8;
inline constexpr int kSkinnyThreads = kSkinnyWarps * 32;
inline constexpr int kUnitDepth = 64;

enum class SkinnyOutput : std::uint8_t { kBf16, kF32, kAddF32, kSilu, kGelu };

__device__ __forceinline__ uint4 load_weights(const std::uint16_t* from) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from));
  return v;
}

// Weights of one unit: 16 rows as two lanes' worth, each in two steps of 32.
template <int kGroups>
struct WeightUnit {
  uint4 low[kGroups][2];   // row lane / 4
  uint4 high[kGroups][2];  // row lane / 4 + 8

  __device__ __forceinline__ void load(const std::uint16_t* row, std::size_t depth, int unit) {
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
#pragma unroll
      for (int step = 0; step < 2; ++step) {
        const std::uint16_t* from = row + g * 16 * depth + unit * kUnitDepth + step * 32;
        low[g][step] = load_weights(from);
        high[g][step] = load_weights(from + 8 * depth);
      }
    }
  }
};

__device__ __forceinline__ void multiply_step(float (&sums)[4], const uint4& low, const uint4& high,
                                              const uint4& x) {
  const std::uint32_t first[4] = {low.x, high.x, low.y, high.y};
  const std::uint32_t second[4] = {low.z, high.z, low.w, high.w};
  multiply(sums, first, x.x, x.y);
  multiply(sums, second, x.z, x.w);
}

// Sums of the warps, by place: [group][weight row][activation row].
template <int kGroups>
struct SkinnyShared {
  float part[kSkinnyWarps][kGroups * 16 * 8];

  __device__ __forceinline__ void put(int warp, int lane, const float (&sums)[kGroups][4]) {
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = g * 16 + lane / 4 + (i / 2) * 8;
        part[warp][row * 8 + (lane % 4) * 2 + i % 2] = sums[g][i];
      }
    }
  }
  __device__ __forceinline__ float total(int row, int token) const {
    float sum = 0.0F;
#pragma unroll
    for (int w = 0; w < kSkinnyWarps; ++w) sum += part[w][row * 8 + token];
    return sum;
  }
};

template <int kGroups, SkinnyOutput kOutput>
__device__ __forceinline__ void store_skinny(const ProductArgs& args, int first,
                                             const SkinnyShared<kGroups>& shared) {
  constexpr bool kIsGated = kOutput == SkinnyOutput::kSilu || kOutput == SkinnyOutput::kGelu;
  constexpr int kRows = kIsGated ? kGroups * 8 : kGroups * 16;  // outputs of the CTA per token
  const int columns = kIsGated ? args.columns / 2 : args.columns;
  const int begin = kIsGated ? first / 2 : first;
  for (int i = static_cast<int>(threadIdx.x); i < kRows * args.rows; i += kSkinnyThreads) {
    const int token = i / kRows;
    const int row = i % kRows;
    if (begin + row >= columns) continue;
    const std::size_t at = static_cast<std::size_t>(token) * columns + begin + row;
    if constexpr (kIsGated) {
      const float gate = shared.total(2 * row, token);
      const float up = shared.total(2 * row + 1, token);
      const float y = (kOutput == SkinnyOutput::kGelu ? gelu(gate) : silu(gate)) * up;
      static_cast<__nv_bfloat16*>(args.y)[at] = __float2bfloat16_rn(y);
    } else if constexpr (kOutput == SkinnyOutput::kBf16) {
      static_cast<__nv_bfloat16*>(args.y)[at] = __float2bfloat16_rn(shared.total(row, token));
    } else if constexpr (kOutput == SkinnyOutput::kF32) {
      static_cast<float*>(args.y)[at] = shared.total(row, token);
    } else {
      static_cast<float*>(args.y)[at] += shared.total(row, token);
    }
  }
}

// kAhead: units whose loads are under way.
template <int kGroups, int kAhead, SkinnyOutput kOutput>
__global__ void __launch_bounds__(kSkinnyThreads, 2) skinny_kernel(ProductArgs args) {
  __shared__ SkinnyShared<kGroups> shared;
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int lane = static_cast<int>(threadIdx.x % 32);
  const auto depth = static_cast<std::size_t>(args.depth);
  const int first = static_cast<int>(blockIdx.x) * kGroups * 16;
  const int units = args.depth / kUnitDepth;
  const int mine = (units - warp + kSkinnyWarps - 1) / kSkinnyWarps;  // this warp's
  const auto* row = static_cast<const std::uint16_t*>(args.weight) +
                    static_cast<std::size_t>(first + lane / 4) * depth + (lane % 4) * 8;
  const auto unit_of = [&](int i) { return warp + i * kSkinnyWarps; };

  launch_dependents();
  WeightUnit<kGroups> weights[kAhead];
#pragma unroll
  for (int i = 0; i < kAhead; ++i) {
    if (i < mine) weights[i].load(row, depth, unit_of(i));
  }
  wait_for_previous_kernel();
  const bool has_token = lane / 4 < args.rows;
  const auto* x = static_cast<const std::uint16_t*>(args.x) +
                  static_cast<std::size_t>(has_token ? lane / 4 : 0) * depth + (lane % 4) * 8;
  uint4 inputs[kAhead][2] = {};
  const auto load_inputs = [&](uint4(&to)[2], int unit) {
    if (!has_token) return;
    to[0] = *reinterpret_cast<const uint4*>(x + unit * kUnitDepth);
    to[1] = *reinterpret_cast<const uint4*>(x + unit * kUnitDepth + 32);
  };
#pragma unroll
  for (int i = 0; i < kAhead; ++i) {
    if (i < mine) load_inputs(inputs[i], unit_of(i));
  }
  float sums[kGroups][4] = {};
  for (int base = 0; base < mine; base += kAhead) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (base + i >= mine) break;
#pragma unroll
      for (int g = 0; g < kGroups; ++g) {
#pragma unroll
        for (int step = 0; step < 2; ++step) {
          multiply_step(sums[g], weights[i].low[g][step], weights[i].high[g][step],
                        inputs[i][step]);
        }
      }
      const int next = base + i + kAhead;
      if (next < mine) {
        weights[i].load(row, depth, unit_of(next));
        load_inputs(inputs[i], unit_of(next));
      }
    }
  }
  shared.put(warp, lane, sums);
  __syncthreads();
  store_skinny<kGroups, kOutput>(args, first, shared);
}

}  // namespace fieldprint::cuda
