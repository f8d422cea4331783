// Merges the partials of a sequence into outputs: the second kernel of a decode launch.
//
// A CTA works one (sequence, KV head) or, where the batch is small, a slice of its head_dim
// (which changes no bit): its first warp takes the anchor's chunks, the others equal runs
// of leaves. The split into runs depends on the sequence alone. This is where the anchor modes
// differ, and nowhere else. Natural logarithms:
//   w  weight of the anchor side (weights.cuh)
//   O = w O_a + (1 - w) O_c;  mass[c] = w share_a[c] + (1 - w) share_c[c]
#pragma once

#include <cuda_bf16.h>

#include "attention/cuda/kernels/params.cuh"
#include "attention/cuda/kernels/ptx.cuh"
#include "attention/cuda/kernels/weights.cuh"

namespace fieldprint::cuda {

// Softmax sums of a set of rows for one column.
struct StatSums {
  float m = kNoReference;
  float l[kClasses] = {};

  __device__ __forceinline__ void add(const StatSums& other) {
    const float top = fmaxf(m, other.m);
    const float mine = exp2_fast(m - top);
    const float theirs = exp2_fast(other.m - top);
    m = top;
#pragma unroll
    for (int c = 0; c < kClasses; ++c) l[c] = l[c] * mine + other.l[c] * theirs;
  }
  // Merges with the lane `step` away; both lanes end with the same bits.
  __device__ __forceinline__ void add_lane(int step) {
    StatSums other;
    other.m = __shfl_xor_sync(~0U, m, step);
#pragma unroll
    for (int c = 0; c < kClasses; ++c) other.l[c] = __shfl_xor_sync(~0U, l[c], step);
    add(other);
  }
  __device__ __forceinline__ float total() const {
    float sum = 0.0F;
#pragma unroll
    for (int c = 0; c < kClasses; ++c) sum += l[c];
    return sum;
  }
};

inline constexpr int kMergeWarps = 8;

// What one warp found in its partials, for columns 4 at a time per lane.
template <int kDim, int kCols, int kSlices>
struct MergeSums {
  static constexpr int kQuads = kDim / kSlices * kCols / 4;
  static constexpr int kQuadsPerLane = (kQuads + 31) / 32;
  float4 o[kQuadsPerLane];
  float m[4];
};

template <int kDim, int kCols, int kSlices>
struct MergeShared {
  float4 o[kMergeWarps][MergeSums<kDim, kCols, kSlices>::kQuads];
  float weight[kMergeWarps][kCols];
  StatSums stats[kMergeWarps][kCols];
};

template <int kDim, int kCols, int kSlices>
struct MergeCta {
  using Sums = MergeSums<kDim, kCols, kSlices>;
  static constexpr int kQuads = Sums::kQuads;
  static constexpr int kQuadsPerLane = Sums::kQuadsPerLane;
  static constexpr int kStep = 32 / kCols;  // partials whose statistics a warp loads at once

  const DecodeArgs& args;
  MergeShared<kDim, kCols, kSlices>& shared;
  int sequence;
  int kv_head;
  int slice;
  int lane = threadIdx.x & 31;
  int warp = threadIdx.x >> 5;

  __device__ __forceinline__ std::size_t index(int partial) const {
    return static_cast<std::size_t>(partial) * args.shape.kv_heads + kv_head;
  }
  __device__ __forceinline__ const float* stats(int partial) const {
    return args.plan.partial_stats + index(partial) * (kStatRows * kCols);
  }
  // First of the four columns this lane holds of an output quad.
  __device__ __forceinline__ int quad_column() const { return kCols == 4 ? 0 : (lane & 1) * 4; }

  __device__ __forceinline__ StatSums load_stats(int partial, int last) const {
    StatSums sums;
    if (partial >= last) return sums;
    const float* from = stats(partial) + lane % kCols;
    sums.m = from[0];
#pragma unroll
    for (int c = 0; c < kClasses; ++c) sums.l[c] = from[(1 + c) * kCols];
    return sums;
  }

  // Adds to the statistics of the first 2 kStep partials those of the others; all lanes of
  // column lane % kCols end with the same sums.
  __device__ __forceinline__ StatSums sum_stats(const StatSums& one, const StatSums& two, int first,
                                                int last) const {
    StatSums sums = one;
    sums.add(two);
    for (int i = first + 2 * kStep + lane / kCols; i < last; i += kStep) {
      sums.add(load_stats(i, last));
    }
    for (int step = kCols; step < 32; step *= 2) sums.add_lane(step);
    return sums;
  }

  // Outputs of partials [first, last), relative to each column's largest exponent.
  __device__ __forceinline__ Sums sum_outputs(int first, int last) const {
    Sums sum = {};
#pragma unroll
    for (float& m : sum.m) m = kNoReference;
#pragma unroll(8 / kQuadsPerLane)
    for (int i = first; i < last; ++i) {
      const float4 m4 = *reinterpret_cast<const float4*>(stats(i) + quad_column());
      const auto* o = reinterpret_cast<const float4*>(args.plan.partial_o) +
                      (index(i) * kSlices + slice) * kQuads;
      const float m[4] = {m4.x, m4.y, m4.z, m4.w};
      float old[4];
      float fresh[4];
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const float top = fmaxf(sum.m[c], m[c]);
        old[c] = exp2_fast(sum.m[c] - top);
        fresh[c] = exp2_fast(m[c] - top);
        sum.m[c] = top;
      }
#pragma unroll
      for (int v = 0; v < kQuadsPerLane; ++v) {
        const int quad = min(lane + v * 32, kQuads - 1);
        const float4 part = o[quad];
        sum.o[v].x = sum.o[v].x * old[0] + part.x * fresh[0];
        sum.o[v].y = sum.o[v].y * old[1] + part.y * fresh[1];
        sum.o[v].z = sum.o[v].z * old[2] + part.z * fresh[2];
        sum.o[v].w = sum.o[v].w * old[3] + part.w * fresh[3];
      }
    }
    return sum;
  }

  // Everything of this warp's partials to shared memory.
  __device__ __forceinline__ void gather(const SequenceInfo& info) {
    const int anchors = info.anchor_partials;
    const int leaves = info.partials - anchors;
    const int share = (leaves + kMergeWarps - 2) / (kMergeWarps - 1);
    const int start = info.base + anchors;
    const int first = warp == 0 ? info.base : start + min((warp - 1) * share, leaves);
    const int last = warp == 0 ? start : start + min(warp * share, leaves);
    // Loaded before the outputs, added after them: one memory latency instead of two.
    const StatSums one = load_stats(first + lane / kCols, last);
    const StatSums two = load_stats(first + lane / kCols + kStep, last);
    const Sums outputs = sum_outputs(first, last);
    const StatSums sums = sum_stats(one, two, first, last);
#pragma unroll
    for (int v = 0; v < kQuadsPerLane; ++v) {
      if (lane + v * 32 < kQuads) shared.o[warp][lane + v * 32] = outputs.o[v];
    }
    if (lane < kCols) shared.stats[warp][lane] = sums;
  }

  // Warp 0: adds the warps' sums and decides each column's weights.
  __device__ __forceinline__ void weigh(const AnchorPolicy& policy) {
    const int column = lane % kCols;
    StatSums c;
#pragma unroll
    for (int w = lane / kCols; w < kMergeWarps; w += kStep) {
      if (w > 0) c.add(shared.stats[w][column]);
    }
    for (int step = kCols; step < 32; step *= 2) c.add_lane(step);
    const StatSums a = shared.stats[0][column];
    const bool failed = args.plan.header->status != 0;
    const float total_a = a.total();
    const float total_c = c.total();
    const float lse_a = failed ? NAN : natural_lse(a.m, total_a);
    const float lse_c = failed ? NAN : natural_lse(c.m, total_c);
    const float share = policy.weight(lse_c, lse_a);
    const float wa = failed ? NAN : total_a > 0.0F ? share / total_a : 0.0F;
    const float wc = failed ? NAN : total_c > 0.0F ? (1.0F - share) / total_c : 0.0F;
#pragma unroll
    for (int w = lane / kCols; w < kMergeWarps; w += kStep) {
      shared.weight[w][column] = w == 0 ? wa : wc * exp2_fast(shared.stats[w][column].m - c.m);
    }
    if (slice != 0 || lane >= args.shape.group) return;
    const int head = kv_head * args.shape.group + column;
    write_lse(lse_a, lse_c, head);
    if (args.mass != nullptr) write_mass(a, c, wa, wc, head);
  }

  __device__ __forceinline__ void write_mass(const StatSums& a, const StatSums& c, float wa,
                                             float wc, int head) const {
    float* mass =
        args.mass + (static_cast<std::size_t>(sequence) * args.shape.q_heads + head) * kClasses;
#pragma unroll
    for (int i = 0; i < kClasses; ++i) mass[i] = a.l[i] * wa + c.l[i] * wc;
  }

  __device__ __forceinline__ void write_lse(float lse_a, float lse_c, int head) const {
    const std::size_t at = static_cast<std::size_t>(sequence) * args.shape.q_heads + head;
    if (args.lse_context != nullptr) args.lse_context[at] = lse_c;
    if (args.lse_anchor != nullptr) args.lse_anchor[at] = lse_a;
    if (args.lse_joint != nullptr) args.lse_joint[at] = joint_lse(lse_a, lse_c);
  }

  // One output element per thread and step: neighbours differ in head_dim.
  __device__ __forceinline__ void write_outputs() const {
    constexpr int kDims = kDim / kSlices;
    auto* out = static_cast<__nv_bfloat16*>(args.o);
    for (int i = threadIdx.x; i < kDims * args.shape.group; i += kMergeWarps * 32) {
      const int column = i / kDims;
      const int d = i % kDims;
      float value = 0.0F;
#pragma unroll
      for (int w = 0; w < kMergeWarps; ++w) {
        const float* o = reinterpret_cast<const float*>(shared.o[w]);
        value += o[d * kCols + column] * shared.weight[w][column];
      }
      const std::size_t head = static_cast<std::size_t>(sequence) * args.shape.q_heads +
                               kv_head * args.shape.group + column;
      out[head * kDim + slice * kDims + d] = __float2bfloat16(value);
    }
  }
};

__device__ __forceinline__ SequenceInfo sequence_info(const PlanView& plan, int sequence) {
  const int4 raw = __ldg(reinterpret_cast<const int4*>(plan.sequences + sequence));
  return {raw.x, raw.y, raw.z, raw.w};
}

// Grid: (KV heads x slices, sequences).
template <int kDim, int kCols, int kSlices>
__global__ void __launch_bounds__(kMergeWarps * 32)
    merge_kernel(const __grid_constant__ DecodeArgs args) {
  __shared__ MergeShared<kDim, kCols, kSlices> shared;
  MergeCta<kDim, kCols, kSlices> cta{args, shared, static_cast<int>(blockIdx.y),
                                     static_cast<int>(blockIdx.x) / kSlices,
                                     static_cast<int>(blockIdx.x) % kSlices};
  // Tables and plan are older than the kernel before, so they are read without waiting.
  const SequenceInfo info = sequence_info(args.plan, cta.sequence);
  const int column = min(cta.lane % kCols, args.shape.group - 1);
  const AnchorPolicy policy(args.policy, args.shape.q_heads, info.anchor,
                            cta.kv_head * args.shape.group + column);
  wait_for_previous_kernel();
  cta.gather(info);
  __syncthreads();
  if (cta.warp == 0) cta.weigh(policy);
  __syncthreads();
  cta.write_outputs();
}

}  // namespace fieldprint::cuda
