// The product of the invariant profile: bf16 tiles through mma.sync, fp32 sums.
//
// A CTA computes 64 weight rows by 64 tokens, a warp 16 weight rows by 64 tokens. Every output
// element is one chain of m16n8k16 instructions over ascending depth, whatever its place and
// however many rows there are: that is the whole promise. Rows past the end are read as zero.
#pragma once

#include "runner/cuda/kernels.h"
#include "runner/cuda/kernels/common.cuh"
#include "runner/cuda/kernels/mma.cuh"

namespace fieldprint::cuda {

inline constexpr int kProductTile = 64;  // weight rows, tokens and depth of a tile
inline constexpr int kProductStages = 4;
inline constexpr int kProductThreads = 128;
inline constexpr int kTileBytes = kProductTile * kProductTile * 2;

struct ProductShared {
  // [stage][row][128 bytes], 16-byte units swizzled by row.
  alignas(128) unsigned char weight[kProductStages][kTileBytes];
  alignas(128) unsigned char x[kProductStages][kTileBytes];
};

__device__ __forceinline__ std::uint32_t shared_address(const void* p) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(p));
}

// Byte offset of a 16-byte unit in a tile.
__device__ __forceinline__ std::uint32_t tile_offset(int row, int unit) {
  return static_cast<std::uint32_t>(row * 128 + ((unit ^ (row & 7)) * 16));
}

// Rows first.. of a matrix [rows][depth], columns from `column`; zero outside.
__device__ __forceinline__ void load_tile(unsigned char* tile, const void* matrix, int first,
                                          int rows, int column, int depth) {
#pragma unroll
  for (int i = 0; i < kProductTile * 8 / kProductThreads; ++i) {
    const int index = i * kProductThreads + static_cast<int>(threadIdx.x);
    const int row = index / 8;
    const int unit = index % 8;
    const int at = column + unit * 8;
    const bool inside = first + row < rows && at < depth;
    const auto* from = static_cast<const std::uint16_t*>(matrix) +
                       (inside ? static_cast<std::size_t>(first + row) * depth + at : 0);
    const std::uint32_t to = shared_address(tile) + tile_offset(row, unit);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
                 "r"(inside ? 16 : 0)
                 : "memory");
  }
}

__device__ __forceinline__ void load_matrix(std::uint32_t (&out)[4], std::uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(address));
}

// One tile of depth: A = the warp's 16 weight rows, B = 64 tokens.
__device__ __forceinline__ void multiply_tile(float (&sums)[8][4], const unsigned char* weight,
                                              const unsigned char* x) {
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int lane = static_cast<int>(threadIdx.x % 32);
  const std::uint32_t weight_base = shared_address(weight);
  const std::uint32_t x_base = shared_address(x);
#pragma unroll
  for (int k = 0; k < kProductTile / 16; ++k) {
    std::uint32_t a[4];
    load_matrix(a, weight_base + tile_offset(warp * 16 + lane % 16, k * 2 + lane / 16));
#pragma unroll
    for (int n = 0; n < 4; ++n) {  // 16 tokens at a time
      std::uint32_t b[4];
      const int row = n * 16 + (lane / 16) * 8 + lane % 8;
      load_matrix(b, x_base + tile_offset(row, k * 2 + (lane / 8) % 2));
      multiply(sums[2 * n], a, b[0], b[1]);
      multiply(sums[2 * n + 1], a, b[2], b[3]);
    }
  }
}

template <ProductOutput kOutput>
__device__ __forceinline__ void store_sum(const ProductArgs& args, int row, int column, float sum) {
  if (row >= args.rows || column >= args.columns) return;
  const std::size_t at = static_cast<std::size_t>(row) * args.columns + column;
  if (kOutput == ProductOutput::kBf16) {
    static_cast<__nv_bfloat16*>(args.y)[at] = __float2bfloat16_rn(sum);
  } else if (kOutput == ProductOutput::kF32) {
    static_cast<float*>(args.y)[at] = sum;
  } else {
    static_cast<float*>(args.y)[at] += sum;
  }
}

template <ProductOutput kOutput>
__global__ void __launch_bounds__(kProductThreads) product_kernel(ProductArgs args) {
  extern __shared__ unsigned char raw[];
  auto& shared = *reinterpret_cast<ProductShared*>(raw);
  const int column = static_cast<int>(blockIdx.x) * kProductTile;
  const int row = static_cast<int>(blockIdx.y) * kProductTile;
  const int tiles = (args.depth + kProductTile - 1) / kProductTile;
  const auto load = [&](int tile) {
    if (tile < tiles) {
      const int stage = tile % kProductStages;
      load_tile(shared.weight[stage], args.weight, column, args.columns, tile * kProductTile,
                args.depth);
      load_tile(shared.x[stage], args.x, row, args.rows, tile * kProductTile, args.depth);
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
  };
  float sums[8][4] = {};
  for (int tile = 0; tile < kProductStages - 1; ++tile) load(tile);
  for (int tile = 0; tile < tiles; ++tile) {
    asm volatile("cp.async.wait_group %0;" ::"n"(kProductStages - 2) : "memory");
    __syncthreads();  // the tile is there for all, and all have left the one before it
    load(tile + kProductStages - 1);
    const int stage = tile % kProductStages;
    multiply_tile(sums, shared.weight[stage], shared.x[stage]);
  }
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int first = column + static_cast<int>(threadIdx.x / 32) * 16 + lane / 4;
#pragma unroll
  for (int n = 0; n < 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      store_sum<kOutput>(args, row + n * 8 + (lane % 4) * 2 + i % 2, first + (i / 2) * 8,
                         sums[n][i]);
    }
  }
}

}  // namespace fieldprint::cuda
