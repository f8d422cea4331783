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
  // Outputs in flight per lane: 16 quads, or 8 where registers are short.
  static constexpr int kUnroll = (kCols == 4 ? 16 : 8) / kQuadsPerLane;

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

  // Partials that a warp's lanes cover at once: lane / kCols counts partials.
  static constexpr int kStep = 32 / kCols;

  // Statistics of the range's i-th partial for column lane % kCols; empty past the end.
  __device__ __forceinline__ StatSums load_stats(const PartialRange& range, int i) const {
    StatSums sums;
    if (i >= range.count) return sums;
    const float* from = stats(range.first + i * range.stride) + lane % kCols;
    sums.m = __ldcg(from);
#pragma unroll
    for (int c = 0; c < kClasses; ++c) sums.l[c] = __ldcg(from + (1 + c) * kCols);
    return sums;
  }

  // Completes sums whose first partials (up to 2 kStep) this lane has already added.
  __device__ __forceinline__ void complete_stats(StatSums& sums, const PartialRange& range) const {
    for (int i = 2 * kStep + lane / kCols; i < range.count; i += kStep) {
      sums.add(load_stats(range, i));
    }
    for (int step = kCols; step < 32; step *= 2) sums.add_lane(step);
  }

  // Outputs of a range, relative to the largest reference exponent of each column.
  struct Outputs {
    float4 o[kQuadsPerLane];
    float m[4];
  };
  __device__ __forceinline__ Outputs sum_outputs(const PartialRange& range) const {
    Outputs sum = {};
#pragma unroll
    for (float& m : sum.m) m = kNoReference;
#pragma unroll kUnroll
    for (int i = 0; i < range.count; ++i) {
      const int partial = range.first + i * range.stride;
      const float4 m4 = __ldcg(reinterpret_cast<const float4*>(stats(partial) + quad_column()));
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
        const float4 part = __ldcg(quads(partial) + lane + v * 32);
        sum.o[v].x = sum.o[v].x * old[0] + part.x * fresh[0];
        sum.o[v].y = sum.o[v].y * old[1] + part.y * fresh[1];
        sum.o[v].z = sum.o[v].z * old[2] + part.z * fresh[2];
        sum.o[v].w = sum.o[v].w * old[3] + part.w * fresh[3];
      }
    }
    return sum;
  }

  // Merges a group of leaves into the place of its first one.
  __device__ __forceinline__ void merge_group(const PartialRange& range) const {
    StatSums sums = load_stats(range, lane / kCols);
    sums.add(load_stats(range, lane / kCols + kStep));
    const Outputs outputs = sum_outputs(range);
    complete_stats(sums, range);
    __syncwarp();  // every lane has read what is overwritten now
    if (lane < kCols) {
      float* to = stats(range.first) + lane;
      to[0] = sums.m;
#pragma unroll
      for (int c = 0; c < kClasses; ++c) to[(1 + c) * kCols] = sums.l[c];
    }
#pragma unroll
    for (int v = 0; v < kQuadsPerLane; ++v) quads(range.first)[lane + v * 32] = outputs.o[v];
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
    // All loads first: statistics and outputs do not wait for each other.
    static_assert(kMaxAnchorChunks <= kStep);
    StatSums a = load_stats(anchors, lane / kCols);
    StatSums c = load_stats(context, lane / kCols);
    const StatSums more = load_stats(context, lane / kCols + kStep);
    const Outputs oa = sum_outputs(anchors);
    const Outputs oc = sum_outputs(context);
    c.add(more);
    complete_stats(a, anchors);
    complete_stats(c, context);
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
    write_outputs(oa, oc, wa, wc, failed);
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

  __device__ __forceinline__ void write_outputs(const Outputs& oa, const Outputs& oc, float wa,
                                                float wc, bool failed) const {
    auto* out = static_cast<__nv_bfloat16*>(args.o);
    float anchor_weight[4];
    float context_weight[4];
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      anchor_weight[c] = __shfl_sync(~0U, wa, quad_column() + c);
      context_weight[c] = __shfl_sync(~0U, wc, quad_column() + c);
    }
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const int column = quad_column() + c;
      if (column >= args.shape.group) continue;
      const std::size_t head = static_cast<std::size_t>(sequence) * args.shape.q_heads +
                               kv_head * args.shape.group + column;
#pragma unroll
      for (int v = 0; v < kQuadsPerLane; ++v) {
        const int d = (lane + v * 32) * 4 / kCols;
        const float* from_a = &oa.o[v].x;
        const float* from_c = &oc.o[v].x;
        const float value = from_a[c] * anchor_weight[c] + from_c[c] * context_weight[c];
        out[head * kDim + d] = __float2bfloat16(failed ? NAN : value);
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

template <int kDim, int kCols>
__device__ __forceinline__ void merge_leaves(const DecodeArgs& args, int kv_head,
                                             PartialRange range) {
  const Merger<kDim, kCols> merger{args, 0, kv_head};
  merger.merge_group(range);
}

// Called by one warp when a LeafItem's partial is written.
template <int kDim, int kCols>
__device__ __forceinline__ void deliver_leaf(const DecodeArgs& args, const int4& item, int kv_head,
                                             const SequenceInfo& info) {
  const int lane = threadIdx.x & 31;
  const int sequence = item.x;
  const Merger<kDim, kCols> merger{args, sequence, kv_head};
  const int first = info.base + info.anchor_partials;
  const int leaves = info.partials - info.anchor_partials;
  bool last = false;
  if (leaves > kGroupLeaves) {
    const int start = (item.w - first) / kGroupLeaves * kGroupLeaves;
    const PartialRange range{first + start, min(kGroupLeaves, leaves - start), 1};
    if (lane == 0) last = arrive(args.plan.group_arrivals + merger.index(range.first), range.count);
    if (!__any_sync(~0U, last)) return;
    merge_leaves<kDim, kCols>(args, kv_head, range);
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
    sequence = __ldg(&args.plan.members[item.z + lane].sequence);
    last = arrive(args.plan.root_arrivals + sequence * args.shape.kv_heads + kv_head,
                  expected_arrivals(sequence_info(args.plan, sequence)));
  }
  for (std::uint32_t left = __ballot_sync(~0U, last); left != 0; left &= left - 1) {
    const int from = __ffs(left) - 1;
    merge_sequence<kDim, kCols>(args, __shfl_sync(~0U, sequence, from), kv_head);
  }
}

}  // namespace fieldprint::cuda
