// Merging partials, inside the decode launch: whoever delivers the last partial that a
// merge needs performs it. One warp per (sequence, KV head).
//
// The tree depends on the sequence alone: 16 leaves to a group where a sequence has more,
// then one last merge of anchor chunks, then leaves or groups, in ascending order. The
// last merge is where the anchor modes differ, and nowhere else. Natural logarithms:
//   L_a, L_c  log-sum-exps of the anchor rows and of the context rows
//   w         weight of the anchor side: joint sigmoid(L_a - L_c), gated gamma,
//             floored sigmoid(L_a - L_c + clamp(logit(psi) - (L_a - L_c), 0, ln 5));
//             0 without anchor rows, 1 without context rows (as reference.cc says)
//   O = w O_a + (1 - w) O_c;  mass[c] = w share_a[c] + (1 - w) share_c[c]
#pragma once

#include <cuda_bf16.h>

#include "attention/cuda/kernels/params.cuh"
#include "attention/cuda/kernels/ptx.cuh"

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

__device__ __forceinline__ float natural_lse(float m, float total) {
  return total > 0.0F ? (m + __log2f(total)) * kLn2 : -INFINITY;
}

// `count` partials from `first` on, every `stride`-th.
struct PartialRange {
  int first;
  int count;
  int stride;
};

// How a sequence's anchor weighs; fetched early, because it takes two dependent loads.
struct AnchorPolicy {
  int mode = 0;  // AnchorMode
  float gamma = 0.0F;
  float psi = 0.0F;

  __device__ __forceinline__ AnchorPolicy(const DecodeArgs& args, int anchor, int head) {
    if (args.modes == nullptr || anchor < 0) return;
    mode = args.modes[anchor];
    gamma = args.gamma[static_cast<std::size_t>(anchor) * args.shape.q_heads + head];
    psi = args.psi[anchor];
  }
  __device__ __forceinline__ float weight(float lse_context, float lse_anchor) const {
    if (lse_anchor == -INFINITY) return 0.0F;
    if (lse_context == -INFINITY) return 1.0F;
    if (mode == 1) return gamma;
    float logit = lse_anchor - lse_context;
    if (mode == 2 && psi > 0.0F) {
      constexpr float kCap = 1.6094379F;  // kFlooredBiasCap of plan.h
      logit += fminf(fmaxf(__logf(psi / (1.0F - psi)) - logit, 0.0F), kCap);
    }
    return 1.0F / (1.0F + __expf(-logit));
  }
};

// One (sequence, KV head) as a warp sees it: four columns at a time per lane.
template <int kDim, int kCols>
struct Merger {
  static constexpr int kQuads = kDim * kCols / 4;
  static constexpr int kQuadsPerLane = kQuads / 32;
  // Outputs in flight per lane: 16 quads.
  static constexpr int kUnroll = 16 / kQuadsPerLane;

  const DecodeArgs& args;
  int sequence;
  int kv_head;
  int lane = threadIdx.x & 31;

  __device__ __forceinline__ std::size_t index(int partial) const {
    return static_cast<std::size_t>(partial) * args.shape.kv_heads + kv_head;
  }
  __device__ __forceinline__ float* stats(int partial) const {
    return args.plan.partial_stats + index(partial) * (kStatRows * kCols);
  }
  __device__ __forceinline__ float4* quads(int partial) const {
    return reinterpret_cast<float4*>(args.plan.partial_o) + index(partial) * kQuads;
  }
  // First of the four columns this lane holds of an output quad.
  __device__ __forceinline__ int quad_column() const { return kCols == 4 ? 0 : (lane & 1) * 4; }

  // Sums of column lane % kCols over the range; all lanes of a column agree.
  __device__ __forceinline__ StatSums sum_stats(const PartialRange& range) const {
    StatSums sums;
#pragma unroll 2
    for (int i = lane / kCols; i < range.count; i += 32 / kCols) {
      const float* from = stats(range.first + i * range.stride) + lane % kCols;
      StatSums partial;
      partial.m = __ldcg(from);
#pragma unroll
      for (int c = 0; c < kClasses; ++c) partial.l[c] = __ldcg(from + (1 + c) * kCols);
      sums.add(partial);
    }
    for (int step = kCols; step < 32; step *= 2) sums.add_lane(step);
    return sums;
  }

  // o += sum of 2^(m_i - m) * weight * O_i. `m` and `weight` are those of column
  // lane % kCols.
  __device__ __forceinline__ void sum_outputs(float4 (&o)[kQuadsPerLane], const PartialRange& range,
                                              float m, float weight) const {
    float ms[4];
    float ws[4];
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      ms[c] = __shfl_sync(~0U, m, quad_column() + c);
      ws[c] = __shfl_sync(~0U, weight, quad_column() + c);
    }
#pragma unroll kUnroll
    for (int i = 0; i < range.count; ++i) {
      const int partial = range.first + i * range.stride;
      const float4 mi = __ldcg(reinterpret_cast<const float4*>(stats(partial) + quad_column()));
      const float4 factor = {exp2_fast(mi.x - ms[0]) * ws[0], exp2_fast(mi.y - ms[1]) * ws[1],
                             exp2_fast(mi.z - ms[2]) * ws[2], exp2_fast(mi.w - ms[3]) * ws[3]};
#pragma unroll
      for (int v = 0; v < kQuadsPerLane; ++v) {
        const float4 part = __ldcg(quads(partial) + lane + v * 32);
        o[v].x += part.x * factor.x;
        o[v].y += part.y * factor.y;
        o[v].z += part.z * factor.z;
        o[v].w += part.w * factor.w;
      }
    }
  }

  // Merges a group of leaves into the place of its first one.
  __device__ __forceinline__ void merge_group(const PartialRange& range) const {
    const StatSums sums = sum_stats(range);
    float4 o[kQuadsPerLane] = {};
    sum_outputs(o, range, sums.m, 1.0F);
    __syncwarp();  // every lane has read what is overwritten now
    if (lane < kCols) {
      float* to = stats(range.first) + lane;
      to[0] = sums.m;
#pragma unroll
      for (int c = 0; c < kClasses; ++c) to[(1 + c) * kCols] = sums.l[c];
    }
#pragma unroll
    for (int v = 0; v < kQuadsPerLane; ++v) quads(range.first)[lane + v * 32] = o[v];
  }

  // The sequence's last merge: writes this slice of the outputs.
  __device__ __forceinline__ void merge_all(const SequenceInfo& info) const {
    const int column = lane % kCols;
    const int group = args.shape.group;
    const int head = kv_head * group + (column < group ? column : 0);
    const AnchorPolicy policy(args, info.anchor, head);
    const bool failed = __ldcg(&args.plan.header->status) != 0;
    const PartialRange anchors{info.base, info.anchor_partials, 1};
    const int leaves = info.partials - info.anchor_partials;
    const bool grouped = leaves > kGroupLeaves;
    const PartialRange context{info.base + info.anchor_partials,
                               grouped ? (leaves + kGroupLeaves - 1) / kGroupLeaves : leaves,
                               grouped ? kGroupLeaves : 1};
    const StatSums a = sum_stats(anchors);
    const StatSums c = sum_stats(context);
    const float total_a = a.total();
    const float total_c = c.total();
    const float lse_a = failed ? NAN : natural_lse(a.m, total_a);
    const float lse_c = failed ? NAN : natural_lse(c.m, total_c);
    const float share = policy.weight(lse_c, lse_a);
    const float wa = failed ? NAN : total_a > 0.0F ? share / total_a : 0.0F;
    const float wc = failed ? NAN : total_c > 0.0F ? (1.0F - share) / total_c : 0.0F;
    if (lane < group) {
      write_lse(lse_a, lse_c, head);
      if (args.mass != nullptr) write_mass(a, c, wa, wc, head);
    }
    float4 o[kQuadsPerLane] = {};
    sum_outputs(o, anchors, a.m, wa);
    sum_outputs(o, context, c.m, wc);
    write_outputs(o, failed);
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
    if (args.lse_joint == nullptr) return;
    const float top = fmaxf(lse_a, lse_c);
    const float low = fminf(lse_a, lse_c);
    args.lse_joint[at] = top == -INFINITY ? top : top + log1pf(__expf(low - top));
  }

  __device__ __forceinline__ void write_outputs(const float4 (&o)[kQuadsPerLane],
                                                bool failed) const {
    auto* out = static_cast<__nv_bfloat16*>(args.o);
#pragma unroll
    for (int v = 0; v < kQuadsPerLane; ++v) {
      const int d = (lane + v * 32) * 4 / kCols;
      const float values[4] = {o[v].x, o[v].y, o[v].z, o[v].w};
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const int column = quad_column() + c;
        if (column >= args.shape.group) continue;
        const std::size_t head = static_cast<std::size_t>(sequence) * args.shape.q_heads +
                                 kv_head * args.shape.group + column;
        out[head * kDim + d] = __float2bfloat16(failed ? NAN : values[c]);
      }
    }
  }
};

// Counts an arrival, by one lane after the warp's writes. True for the last one, which
// then sees everything the others wrote before they arrived.
__device__ __forceinline__ bool arrive(std::int32_t* counter, int expected) {
  const bool last = atomic_add_release(counter, 1) + 1 == expected;
  if (!last) return false;
  fence_acquire();
  *counter = 0;
  return true;
}

__device__ __forceinline__ int expected_arrivals(const SequenceInfo& info) {
  const int leaves = info.partials - info.anchor_partials;
  const int groups = (leaves + kGroupLeaves - 1) / kGroupLeaves;
  return info.anchor_partials + (leaves > kGroupLeaves ? groups : leaves);
}

__device__ __forceinline__ SequenceInfo sequence_info(const PlanView& plan, int sequence) {
  const int4 raw = __ldg(reinterpret_cast<const int4*>(plan.sequences + sequence));
  return {raw.x, raw.y, raw.z, raw.w};
}

template <int kDim, int kCols>
__device__ __noinline__ void merge_sequence(const DecodeArgs& args, int sequence, int kv_head) {
  const Merger<kDim, kCols> merger{args, sequence, kv_head};
  merger.merge_all(sequence_info(args.plan, sequence));
}

// Called by one warp when a LeafItem's partial is written.
template <int kDim, int kCols>
__device__ __forceinline__ void deliver_leaf(const DecodeArgs& args, const int4& item,
                                             int kv_head) {
  const int lane = threadIdx.x & 31;
  const int sequence = item.x;
  const SequenceInfo info = sequence_info(args.plan, sequence);
  const Merger<kDim, kCols> merger{args, sequence, kv_head};
  const int first = info.base + info.anchor_partials;
  const int leaves = info.partials - info.anchor_partials;
  bool last = false;
  if (leaves > kGroupLeaves) {
    const int start = (item.w - first) / kGroupLeaves * kGroupLeaves;
    const PartialRange range{first + start, min(kGroupLeaves, leaves - start), 1};
    if (lane == 0) last = arrive(args.plan.group_arrivals + merger.index(range.first), range.count);
    if (!__any_sync(~0U, last)) return;
    merger.merge_group(range);
    __syncwarp();
  }
  last = false;
  std::int32_t* root = args.plan.root_arrivals + sequence * args.shape.kv_heads + kv_head;
  if (lane == 0) last = arrive(root, expected_arrivals(info));
  if (__any_sync(~0U, last)) merge_sequence<kDim, kCols>(args, sequence, kv_head);
}

// Called by one warp when all partials of an AnchorItem are written. Lanes speak of
// sequences.
template <int kDim, int kCols>
__device__ __forceinline__ void deliver_anchor(const DecodeArgs& args, const int4& item,
                                               int kv_head) {
  static_assert(kAnchorColumnGroups * kColumns <= 32);
  const int lane = threadIdx.x & 31;
  bool last = false;
  int sequence = 0;
  if (lane < item.w) {
    sequence = __ldg(args.plan.sorted_sequences + item.z + lane);
    last = arrive(args.plan.root_arrivals + sequence * args.shape.kv_heads + kv_head,
                  expected_arrivals(sequence_info(args.plan, sequence)));
  }
  for (std::uint32_t left = __ballot_sync(~0U, last); left != 0; left &= left - 1) {
    const int from = __ffs(left) - 1;
    merge_sequence<kDim, kCols>(args, __shfl_sync(~0U, sequence, from), kv_head);
  }
}

}  // namespace fieldprint::cuda
