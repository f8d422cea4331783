// KV append: turns K and q by their positions and writes K and V into their pages.
//
// A CTA takes one token. It finds the token's target and computes its angles once, for all
// heads, while the rows arrive; they pass through registers, 16 bytes per access. A unit is
// two vectors of a row that are turned together: where pairs are halves apart, these two hold
// each other's partners.
#pragma once

#include <cuda_bf16.h>

#include "attention/cuda/kernels/kv_params.cuh"
#include "attention/cuda/kernels/ptx.cuh"

namespace fieldprint::cuda {

inline constexpr int kAppendThreads = 128;
inline constexpr int kAppendUnits = 3;  // loaded together per thread
inline constexpr std::uint32_t kNanPair = 0x7FC07FC0U;

// Where a token's K and V rows go: element offset of head 0's row. -1: nowhere.
struct AppendTarget {
  std::int64_t row;
  bool padding;
};

// Two rounds of loads: what the token says, then what the table says about it.
template <int kDim>
__device__ __forceinline__ AppendTarget find_target(const AppendArgs& args, int token) {
  const int sequence = __ldg(args.tokens.sequences + token);
  const int slot = __ldg(args.tokens.slots + token);
  const int position = __ldg(args.tokens.positions + token);
  const std::uint32_t cls = __ldg(args.tokens.classes + token);
  if (sequence == -1) return {-1, true};
  const bool known = sequence >= 0 && sequence < args.batch;
  const int table = known ? sequence : 0;
  const int place = slot >> args.log2_page_rows;
  const bool inside = place >= 0 && place < args.page_stride;
  const int count = __ldg(args.page_counts + table);
  const std::uint32_t entry =
      __ldg(args.pages + static_cast<std::size_t>(table) * args.page_stride + (inside ? place : 0));
  const int row = slot & ((1 << args.log2_page_rows) - 1);
  const int page = static_cast<int>(entry >> 9);
  std::uint32_t wrong = position < 0 ? FP_KV_BAD_POSITION : 0;
  if (!known) {
    wrong |= FP_KV_BAD_SEQUENCE;
  } else if (!inside || place >= count) {
    wrong |= FP_KV_BAD_SLOT;
  } else {
    if (row > static_cast<int>(entry & 63U)) wrong |= FP_KV_BAD_SLOT;
    if (page >= args.pool_pages) wrong |= FP_KV_BAD_PAGE_ID;
    if (((entry >> 6) & 7U) != cls) wrong |= FP_KV_BAD_CLASS;
  }
  if (wrong != 0) {
    atomicOr(args.rows.status, wrong);
    return {-1, false};
  }
  const std::int64_t first = static_cast<std::int64_t>(page) * args.kv_heads;
  return {((first << args.log2_page_rows) + row) * kDim, false};
}

// cos and sin of a position's angle. The product is reduced to one turn in double: its error
// is below 1e-6 of a turn up to position 2^31 and below 1e-11 up to 131072.
__device__ __forceinline__ float2 angle_of(double turns, int position) {
  const double turn = position * turns;
  float2 out;
  sincospif(static_cast<float>(2.0 * (turn - rint(turn))), &out.y, &out.x);
  return out;
}

__device__ __forceinline__ float2 turn_pair(float a, float b, float2 angle) {
  return {a * angle.x - b * angle.y, a * angle.y + b * angle.x};
}

__device__ __forceinline__ float2 unpack(std::uint32_t pair) {
  return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xFFFF0000U)};
}
__device__ __forceinline__ std::uint32_t pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const std::uint32_t&>(pair);
}

// Pairs within each vector. `angles`: of the vector's first pair.
__device__ __forceinline__ void turn_adjacent(uint4& x, const float2* angles) {
  std::uint32_t* words = reinterpret_cast<std::uint32_t*>(&x);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = unpack(words[i]);
    const float2 turned = turn_pair(pair.x, pair.y, angles[i]);
    words[i] = pack(turned.x, turned.y);
  }
}

// Element i of `a` with element i of `b`.
__device__ __forceinline__ void turn_halves(uint4& a, uint4& b, const float2* angles) {
  std::uint32_t* lows = reinterpret_cast<std::uint32_t*>(&a);
  std::uint32_t* highs = reinterpret_cast<std::uint32_t*>(&b);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 x = unpack(lows[i]);
    const float2 y = unpack(highs[i]);
    const float2 first = turn_pair(x.x, y.x, angles[2 * i]);
    const float2 second = turn_pair(x.y, y.y, angles[2 * i + 1]);
    lows[i] = pack(first.x, second.x);
    highs[i] = pack(first.y, second.y);
  }
}

// One unit: which row, and its two vectors in it.
template <int kDim>
struct AppendUnit {
  static constexpr int kPerRow = kDim / (2 * kVectorElements);
  int row;     // q heads, then K heads, then V heads
  int in_row;  // unit in the row
  int first;   // elements
  int second;

  __device__ __forceinline__ AppendUnit(int unit, int dims)
      : row(unit / kPerRow), in_row(unit % kPerRow) {
    const int turned = dims / (2 * kVectorElements);
    const int rest = in_row - turned;
    first = kVectorElements * (rest < 0 ? in_row : 2 * turned + rest);
    second = first + (rest < 0 ? dims : kDim - dims) / 2;
  }
};

template <int kDim>
__device__ __forceinline__ const std::uint16_t* source_row(const AppendArgs& args, int token,
                                                           int row) {
  const void* base = args.rows.q;
  std::int64_t stride = args.rows.q_stride;
  if (row >= args.q_heads + args.kv_heads) {
    base = args.rows.v;
    stride = args.rows.v_stride;
    row -= args.q_heads + args.kv_heads;
  } else if (row >= args.q_heads) {
    base = args.rows.k;
    stride = args.rows.k_stride;
    row -= args.q_heads;
  }
  return static_cast<const std::uint16_t*>(base) + token * stride + row * kDim;
}

// nullptr: nowhere.
template <int kDim>
__device__ __forceinline__ std::uint16_t* target_row(const AppendArgs& args, int token, int row,
                                                     const AppendTarget& target) {
  if (row < args.q_heads) {
    return static_cast<std::uint16_t*>(args.rows.q_out) + token * args.rows.q_out_stride +
           row * kDim;
  }
  if (target.row < 0) return nullptr;
  const bool is_k = row < args.q_heads + args.kv_heads;
  const std::int64_t head = row - args.q_heads - (is_k ? 0 : args.kv_heads);
  void* pool = is_k ? args.k_pool : args.v_pool;
  return static_cast<std::uint16_t*>(pool) + target.row + ((head << args.log2_page_rows) * kDim);
}

template <int kDim>
__device__ __forceinline__ void turn_unit(const AppendArgs& args, const AppendUnit<kDim>& unit,
                                          const float2* angles, uint4& a, uint4& b) {
  const bool turned = unit.in_row < args.rope.dims / (2 * kVectorElements);
  if (!turned || unit.row >= args.q_heads + args.kv_heads) return;
  if (args.rope.style == FP_KV_ROPE_HALVES) {
    turn_halves(a, b, angles + unit.first);
  } else {
    turn_adjacent(a, angles + unit.first / 2);
    turn_adjacent(b, angles + unit.second / 2);
  }
}

template <int kDim>
__device__ __forceinline__ void store_unit(const AppendArgs& args, const AppendUnit<kDim>& unit,
                                           int token, const AppendTarget& target, uint4 a,
                                           uint4 b) {
  std::uint16_t* to = target_row<kDim>(args, token, unit.row, target);
  if (to == nullptr) return;
  if (target.row < 0) a = b = {kNanPair, kNanPair, kNanPair, kNanPair};
  *reinterpret_cast<uint4*>(to + unit.first) = a;
  *reinterpret_cast<uint4*>(to + unit.second) = b;
}

template <int kDim>
__global__ void __launch_bounds__(kAppendThreads)
    append_kernel(const __grid_constant__ AppendArgs args) {
  __shared__ alignas(16) float2 angles[kDim / 2];
  __shared__ AppendTarget target;
  const int token = blockIdx.x;
  const int thread = threadIdx.x;
  const int units = (args.q_heads + 2 * args.kv_heads) * AppendUnit<kDim>::kPerRow;
  wait_for_previous_kernel();  // launched while that one drains
  uint4 a[kAppendUnits];
  uint4 b[kAppendUnits];
  const auto load = [&](int base) {
#pragma unroll
    for (int i = 0; i < kAppendUnits; ++i) {
      const int at = base + i * kAppendThreads;
      if (at >= units) continue;
      const AppendUnit<kDim> unit(at, args.rope.dims);
      const std::uint16_t* from = source_row<kDim>(args, token, unit.row);
      a[i] = *reinterpret_cast<const uint4*>(from + unit.first);
      b[i] = *reinterpret_cast<const uint4*>(from + unit.second);
    }
  };
  load(thread);
  if (thread == kAppendThreads - 1) target = find_target<kDim>(args, token);
  for (int pair = thread; pair < args.rope.dims / 2; pair += kAppendThreads) {
    angles[pair] = angle_of(args.rope.turns[pair], __ldg(args.tokens.positions + token));
  }
  __syncthreads();
  const AppendTarget to = target;
  if (to.padding) return;
  for (int base = thread; base < units; base += kAppendUnits * kAppendThreads) {
    if (base != thread) load(base);
#pragma unroll
    for (int i = 0; i < kAppendUnits; ++i) {
      const int at = base + i * kAppendThreads;
      if (at >= units) continue;
      const AppendUnit<kDim> unit(at, args.rope.dims);
      turn_unit<kDim>(args, unit, angles, a[i], b[i]);
      store_unit<kDim>(args, unit, token, to, a[i], b[i]);
    }
  }
}

}  // namespace fieldprint::cuda
