// Merges the partials of a sequence: anchor chunks, then leaves in ascending order.
//
// The three modes differ here and nowhere else. Per column, with natural logarithms:
//   L_a, L_c  log-sum-exps of the anchor rows and of the context rows
//   w         weight of the anchor side: joint sigmoid(L_a - L_c), gated gamma,
//             floored sigmoid(L_a - L_c + clamp(logit(psi) - (L_a - L_c), 0, ln 5));
//             0 without anchor rows, 1 without context rows (as reference.cc says)
//   O = w O_a + (1 - w) O_c;  mass[c] = w share_a[c] + (1 - w) share_c[c]
//
// A unit is (sequence, KV head, 32 of head_dim). Units of short sequences are worked by
// one warp, those of long ones by a CTA. The choice depends on the sequence alone.
#pragma once

#include <cuda_bf16.h>

#include "attention/cuda/kernels/params.cuh"
#include "attention/cuda/kernels/ptx.cuh"

namespace fieldprint::cuda {

inline constexpr int kCombineWarps = 8;
inline constexpr int kUnitDims = 32;
inline constexpr int kSoloPartials = 32;  // up to here one warp works alone

// Softmax sums of one side of one column.
struct SideSums {
  float m;
  float l[kClasses];

  __device__ __forceinline__ void clear() {
    m = -INFINITY;
    for (float& x : l) x = 0.0F;
  }
  // Adds sums that are relative to exponent `other_m`. Exact for empty sides.
  __device__ __forceinline__ void add(float other_m, const float (&other_l)[kClasses]) {
    const float top = fmaxf(m, other_m);
    if (top == -INFINITY) return;
    const float mine = exp2_fast(m - top);
    const float other = exp2_fast(other_m - top);
    m = top;
#pragma unroll
    for (int c = 0; c < kClasses; ++c) l[c] = l[c] * mine + other_l[c] * other;
  }
  __device__ __forceinline__ float total() const {
    float sum = 0.0F;
#pragma unroll
    for (int c = 0; c < kClasses; ++c) sum += l[c];
    return sum;
  }
  // Merges with the lane `step` away; both lanes end with the same bits.
  __device__ __forceinline__ void add_lane(int step) {
    float other[kClasses];
    const float other_m = __shfl_xor_sync(~0U, m, step);
#pragma unroll
    for (int c = 0; c < kClasses; ++c) other[c] = __shfl_xor_sync(~0U, l[c], step);
    add(other_m, other);
  }
};

struct ColumnSums {
  SideSums anchor;
  SideSums context;
};

// How one column's partials are weighted: side weight / side total, and the exponent.
struct ColumnWeights {
  float anchor;
  float context;
  float anchor_m;
  float context_m;
  float lse_anchor;
  float lse_context;
};

__device__ __forceinline__ float natural_lse(const SideSums& side, float total) {
  return total > 0.0F ? (side.m + __log2f(total)) * kLn2 : -INFINITY;
}

__device__ __forceinline__ float anchor_side_weight(const CombineArgs& args, int anchor, int head,
                                                    float lse_context, float lse_anchor) {
  if (lse_anchor == -INFINITY) return 0.0F;
  if (lse_context == -INFINITY) return 1.0F;
  const int mode = args.modes == nullptr ? 0 : args.modes[anchor];
  if (mode == 1) return args.gamma[static_cast<std::size_t>(anchor) * args.shape.q_heads + head];
  float logit = lse_anchor - lse_context;
  if (mode == 2 && args.psi[anchor] > 0.0F) {
    constexpr float kCap = 1.6094379F;  // kFlooredBiasCap of plan.h
    const float psi = args.psi[anchor];
    logit += fminf(fmaxf(__logf(psi / (1.0F - psi)) - logit, 0.0F), kCap);
  }
  return 1.0F / (1.0F + __expf(-logit));
}

template <int kDim, int kCols>
struct CombineUnit {
  const CombineArgs& args;
  int sequence;
  int kv_head;
  int slice;
  int base;    // first partial
  int count;   // partials
  int anchor_count;

  __device__ __forceinline__ CombineUnit(const CombineArgs& a, int unit) : args(a) {
    constexpr int kSlices = kDim / kUnitDims;
    slice = unit % kSlices;
    kv_head = unit / kSlices % args.shape.kv_heads;
    sequence = unit / kSlices / args.shape.kv_heads;
    base = args.plan.partial_base[sequence];
    count = args.plan.partial_count[sequence];
    anchor_count = args.plan.anchor_partials[sequence];
  }

  __device__ __forceinline__ std::size_t index(int partial) const {
    return static_cast<std::size_t>(base + partial) * args.shape.kv_heads + kv_head;
  }

  // Sums of column lane % kCols over the partials that fall to this warp.
  __device__ __forceinline__ void sum_columns(ColumnSums& sums, int warp, int warps) const {
    const int lane = threadIdx.x & 31;
    const int column = lane % kCols;
    constexpr int kStep = 32 / kCols;
    sums.anchor.clear();
    sums.context.clear();
#pragma unroll 2
    for (int i = warp * kStep + lane / kCols; i < count; i += warps * kStep) {
      const std::size_t at = index(i) * kCols + column;
      const auto* l4 = reinterpret_cast<const float4*>(args.plan.partial_l + at * kClasses);
      const float4 a = l4[0];
      const float4 b = l4[1];
      float l[kClasses] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
      float m = args.plan.partial_m[at];
      float any = 0.0F;
#pragma unroll
      for (float x : l) any += x;
      if (any == 0.0F) m = -INFINITY;  // a partial without rows
      if (i < anchor_count) {
        sums.anchor.add(m, l);
      } else {
        sums.context.add(m, l);
      }
    }
    for (int step = kCols; step < 32; step *= 2) {
      sums.anchor.add_lane(step);
      sums.context.add_lane(step);
    }
  }

  // Lane's column: weights and, in the first slice, the scalar outputs.
  __device__ __forceinline__ ColumnWeights weigh(const ColumnSums& sums, bool write) const {
    const int column = (threadIdx.x & 31) % kCols;
    const int head = kv_head * args.shape.group + column;
    const float total_a = sums.anchor.total();
    const float total_c = sums.context.total();
    ColumnWeights w;
    w.anchor_m = sums.anchor.m == -INFINITY ? 0.0F : sums.anchor.m;
    w.context_m = sums.context.m == -INFINITY ? 0.0F : sums.context.m;
    w.lse_anchor = natural_lse(sums.anchor, total_a);
    w.lse_context = natural_lse(sums.context, total_c);
    float share = 0.0F;
    if (anchor_count > 0 && column < args.shape.group) {
      share = anchor_side_weight(args, args.table.anchor_ids[sequence], head, w.lse_context,
                                 w.lse_anchor);
    }
    w.anchor = total_a > 0.0F ? share / total_a : 0.0F;
    w.context = total_c > 0.0F ? (1.0F - share) / total_c : 0.0F;
    if (write && (threadIdx.x & 31) < args.shape.group) write_scalars(sums, w, head);
    return w;
  }

  __device__ __forceinline__ void write_scalars(const ColumnSums& sums, const ColumnWeights& w,
                                                int head) const {
    const std::size_t at = static_cast<std::size_t>(sequence) * args.shape.q_heads + head;
    const bool failed = args.plan.header->status != 0;
    const float nan = __int_as_float(0x7FC00000);
    if (args.lse_context != nullptr) args.lse_context[at] = failed ? nan : w.lse_context;
    if (args.lse_anchor != nullptr) args.lse_anchor[at] = failed ? nan : w.lse_anchor;
    if (args.lse_joint != nullptr) {
      const float top = fmaxf(w.lse_context, w.lse_anchor);
      const float low = fminf(w.lse_context, w.lse_anchor);
      const float joint = top == -INFINITY ? top : top + log1pf(__expf(low - top));
      args.lse_joint[at] = failed ? nan : joint;
    }
    if (args.mass == nullptr) return;
#pragma unroll
    for (int c = 0; c < kClasses; ++c) {
      const float mass = sums.anchor.l[c] * w.anchor + sums.context.l[c] * w.context;
      args.mass[at * kClasses + c] = failed ? nan : mass;
    }
  }

  // Weighted sum of partial outputs: this lane's head_dim index, all columns.
  __device__ __forceinline__ void sum_outputs(float (&o)[kCols], const ColumnWeights& mine,
                                              int first, int last) const {
    const int lane = threadIdx.x & 31;
    float weight[kCols][2];
    float exponent[kCols][2];
#pragma unroll
    for (int c = 0; c < kCols; ++c) {
      weight[c][0] = __shfl_sync(~0U, mine.anchor, c);
      weight[c][1] = __shfl_sync(~0U, mine.context, c);
      exponent[c][0] = __shfl_sync(~0U, mine.anchor_m, c);
      exponent[c][1] = __shfl_sync(~0U, mine.context_m, c);
      o[c] = 0.0F;
    }
    const int d = slice * kUnitDims + lane;
#pragma unroll 4
    for (int i = first; i < last; ++i) {
      const auto* o4 =
          reinterpret_cast<const float4*>(args.plan.partial_o + (index(i) * kDim + d) * kCols);
      const auto* m4 = reinterpret_cast<const float4*>(args.plan.partial_m + index(i) * kCols);
      const bool context = i >= anchor_count;
#pragma unroll
      for (int v = 0; v < kCols / 4; ++v) {
        const float4 part = o4[v];
        const float4 m = m4[v];
        const float parts[4] = {part.x, part.y, part.z, part.w};
        const float ms[4] = {m.x, m.y, m.z, m.w};
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          const int k = v * 4 + c;
          const float w = context ? weight[k][1] : weight[k][0];
          const float e = context ? exponent[k][1] : exponent[k][0];
          o[k] += parts[c] * (exp2_fast(ms[c] - e) * w);
        }
      }
    }
  }

  __device__ __forceinline__ void write_outputs(const float (&o)[kCols]) const {
    const int d = slice * kUnitDims + (threadIdx.x & 31);
    const bool failed = args.plan.header->status != 0;
    auto* out = static_cast<__nv_bfloat16*>(args.o);
#pragma unroll
    for (int c = 0; c < kCols; ++c) {
      if (c >= args.shape.group) break;
      const std::size_t head = static_cast<std::size_t>(sequence) * args.shape.q_heads +
                               kv_head * args.shape.group + c;
      out[head * kDim + d] = __float2bfloat16(failed ? __int_as_float(0x7FC00000) : o[c]);
    }
  }
};

template <int kDim, int kCols>
__device__ __forceinline__ void combine_alone(const CombineArgs& args, int unit_index) {
  const CombineUnit<kDim, kCols> unit(args, unit_index);
  if (unit.count > kSoloPartials) return;
  ColumnSums sums;
  unit.sum_columns(sums, 0, 1);
  const ColumnWeights weights = unit.weigh(sums, unit.slice == 0);
  float o[kCols];
  unit.sum_outputs(o, weights, 0, unit.count);
  unit.write_outputs(o);
}

template <int kDim, int kCols>
__device__ __forceinline__ void combine_together(const CombineArgs& args, int unit_index) {
  __shared__ ColumnSums shared_sums[kCombineWarps][kCols];
  __shared__ float shared_o[kCombineWarps][kCols][kUnitDims];
  const CombineUnit<kDim, kCols> unit(args, unit_index);
  if (unit.count <= kSoloPartials) return;
  const int lane = threadIdx.x & 31;
  const int warp = threadIdx.x >> 5;
  ColumnSums sums;
  unit.sum_columns(sums, warp, kCombineWarps);
  if (lane < kCols) shared_sums[warp][lane] = sums;
  __syncthreads();
  sums = shared_sums[0][lane % kCols];
  for (int w = 1; w < kCombineWarps; ++w) {
    const ColumnSums& other = shared_sums[w][lane % kCols];
    sums.anchor.add(other.anchor.m, other.anchor.l);
    sums.context.add(other.context.m, other.context.l);
  }
  const ColumnWeights weights = unit.weigh(sums, unit.slice == 0 && warp == 0);
  const int share = (unit.count + kCombineWarps - 1) / kCombineWarps;
  float o[kCols];
  unit.sum_outputs(o, weights, min(warp * share, unit.count), min((warp + 1) * share, unit.count));
#pragma unroll
  for (int c = 0; c < kCols; ++c) shared_o[warp][c][lane] = o[c];
  __syncthreads();
  if (warp != 0) return;
#pragma unroll
  for (int c = 0; c < kCols; ++c) {
    for (int w = 1; w < kCombineWarps; ++w) o[c] += shared_o[w][c][lane];
  }
  unit.write_outputs(o);
}

// Grid: units. CTA b works unit b if it is long, and, when b is a multiple of 8, the
// short ones among units b..b+7.
template <int kDim, int kCols>
__global__ void __launch_bounds__(kCombineWarps * 32) combine_kernel(const CombineArgs args) {
  wait_for_previous_kernel();
  const int block = static_cast<int>(blockIdx.x);
  if (block % kCombineWarps == 0) {
    const int unit = block + static_cast<int>(threadIdx.x >> 5);
    if (unit < static_cast<int>(gridDim.x)) combine_alone<kDim, kCols>(args, unit);
  }
  combine_together<kDim, kCols>(args, block);
}

}  // namespace fieldprint::cuda
