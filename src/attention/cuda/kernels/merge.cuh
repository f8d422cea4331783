// Merges the partials of a sequence into outputs: the second kernel of a decode launch.
//
// A CTA works one (sequence, KV head) or, where the batch is small, a slice of its head_dim
// (which changes no bit). Its leaves are put in order, the anchor's after those of the first
// segment, and cut into equal runs; the cut depends on their number alone. In joint mode that is
// all: an anchor without beta is a prefix like any other, bit for bit. In the other modes the
// anchor is a run of its own:
//   w  weight of the anchor side (weights.cuh)
//   O = w O_a + (1 - w) O_c;  mass[c] = w share_a[c] + (1 - w) share_c[c]
#pragma once

#include <cuda_bf16.h>

#include "attention/cuda/kernels/deliver.cuh"
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
    for (int c = 0; c < kClasses; ++c) l[c] = fmaf(l[c], mine, other.l[c] * theirs);
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

// Runs of a sequence, each a warp's: one for an anchor that stands apart, the others for equal
// shares of leaves.
inline constexpr int kRuns = 8;

// What a merge kernel is compiled for. Its code is fetched anew for every launch, so each has
// only what it needs.
enum class MergeFor {
  kFew,       // few CTAs: everything is loaded at once
  kMany,      // many CTAs, few registers; the step is not split
  kManyPlain  // the same without anchors
};

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
  float4 o[kRuns][MergeSums<kDim, kCols, kSlices>::kQuads];
  float weight[kRuns][kCols];
  StatSums stats[kRuns][kCols];
  StatSums anchor[kCols];   // joint mode
  StatSums without[kCols];  // the run that has the anchor, without it
};

// Where a leaf lies: in `chunks` partials that are still to be merged.
struct LeafPlace {
  int partial;
  int chunks;  // 1: it is whole
};

// The leaves of a sequence in the order in which they are merged.
struct LeafOrder {
  SequenceInfo info;
  bool inside;  // the anchor is one of them
  int before;   // leaves of the first segment
  int count;

  __device__ __forceinline__ static int leaves(int chunks) {
    return (chunks + kWarps - 1) / kWarps;
  }

  __device__ __forceinline__ LeafOrder(const SequenceInfo& of, int mode)
      : info(of),
        inside(of.anchor_partials > 0 && mode == 0),
        before(leaves(of.chunks[0])),
        count(before + leaves(of.chunks[1]) + leaves(of.chunks[2]) + (inside ? 1 : 0)) {}

  // Leaves of a run.
  __device__ __forceinline__ int share() const { return (count + kRuns - 2) / (kRuns - 1); }
  __device__ __forceinline__ bool is_anchor(int i) const { return inside && i == before; }

  __device__ __forceinline__ LeafPlace anchor() const { return {info.base, info.anchor_partials}; }
  // Of a leaf that is not the anchor.
  __device__ __forceinline__ LeafPlace context(int i) const {
    int leaf = i - (inside && i > before ? 1 : 0);
    const int start = info.base + info.anchor_partials;
    if (info.split == 0) return {start + leaf, 1};
    const int place = start + leaf * kWarps;
    int s = 0;
    while (s < kSegments - 1 && leaf >= leaves(info.chunks[s])) leaf -= leaves(info.chunks[s++]);
    return {place, min(info.chunks[s] - leaf * kWarps, kWarps)};
  }
  __device__ __forceinline__ LeafPlace at(int i) const {
    return is_anchor(i) ? anchor() : context(i);
  }
};

template <int kDim, int kCols, int kSlices, MergeFor kFor>
struct MergeCta {
  static constexpr bool kSplits = kFor == MergeFor::kFew;
  static constexpr bool kAnchors = kFor != MergeFor::kManyPlain;
  using Sums = MergeSums<kDim, kCols, kSlices>;
  static constexpr int kQuads = Sums::kQuads;
  static constexpr int kQuadsPerLane = Sums::kQuadsPerLane;
  static constexpr int kStep = 32 / kCols;  // leaves whose statistics a warp loads at once

  const DecodeArgs& args;
  MergeShared<kDim, kCols, kSlices>& shared;
  int sequence;
  int kv_head;
  int slice;
  int lane = threadIdx.x & 31;
  int warp = threadIdx.x >> 5;

  // Natural log-sum-exps of a column.
  struct Logs {
    float anchor;
    float context;
    float joint;
  };

  __device__ __forceinline__ std::size_t index(int partial) const {
    return static_cast<std::size_t>(partial) * args.shape.kv_heads + kv_head;
  }
  __device__ __forceinline__ const float* stats(int partial) const {
    return args.plan.partial_stats + index(partial) * (kStatRows * kCols);
  }
  __device__ __forceinline__ const float4* outputs(int partial) const {
    return reinterpret_cast<const float4*>(args.plan.partial_o) +
           (index(partial) * kSlices + slice) * kQuads;
  }
  // First of the four columns this lane holds of an output quad.
  __device__ __forceinline__ int quad_column() const { return kCols == 4 ? 0 : (lane & 1) * 4; }

  // Reference exponents of this lane's four columns.
  __device__ __forceinline__ void load_exponents(float (&m)[4], int partial) const {
    const float4 m4 = *reinterpret_cast<const float4*>(stats(partial) + quad_column());
    m[0] = m4.x;
    m[1] = m4.y;
    m[2] = m4.z;
    m[3] = m4.w;
  }

  __device__ __forceinline__ StatSums load_stats(int partial) const {
    StatSums sums;
    const float* from = stats(partial) + lane % kCols;
    sums.m = from[0];
#pragma unroll
    for (int c = 0; c < kClasses; ++c) sums.l[c] = from[(1 + c) * kCols];
    return sums;
  }

  // As DeliveringWarp::merge_chunks() does it.
  __device__ __forceinline__ StatSums load_leaf_stats(const LeafPlace& leaf) const {
    if (!kAnchors || leaf.chunks == 1) return load_stats(leaf.partial);
    StatSums sums;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      if (w < leaf.chunks) sums.m = fmaxf(sums.m, stats(leaf.partial + w)[lane % kCols]);
    }
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      if (w >= leaf.chunks) continue;
      const StatSums chunk = load_stats(leaf.partial + w);
      const float factor = exp2_fast(chunk.m - sums.m);
#pragma unroll
      for (int c = 0; c < kClasses; ++c) sums.l[c] = fmaf(chunk.l[c], factor, sums.l[c]);
    }
    return sums;
  }

  __device__ __forceinline__ static void scale(float4& x, const float (&factor)[4]) {
    x = float4{x.x * factor[0], x.y * factor[1], x.z * factor[2], x.w * factor[3]};
  }

  // Adds outputs `part`, relative to exponents `m`, to a run's.
  __device__ __forceinline__ static void fold(Sums& sum, const float4 (&part)[kQuadsPerLane],
                                              const float (&m)[4]) {
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
      scale(sum.o[v], old);
      add_scaled(sum.o[v], part[v], fresh);
    }
  }

  // As DeliveringWarp::merge_chunks() does it.
  __device__ __forceinline__ void fold_chunks(Sums& sum, const LeafPlace& leaf) const {
    float top[4] = {kNoReference, kNoReference, kNoReference, kNoReference};
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      if (w >= leaf.chunks) continue;
      float m[4];
      load_exponents(m, leaf.partial + w);
#pragma unroll
      for (int c = 0; c < 4; ++c) top[c] = fmaxf(top[c], m[c]);
    }
    float4 leaf_o[kQuadsPerLane] = {};
#pragma unroll(kQuadsPerLane > 1 ? 2 : kWarps)
    for (int w = 0; w < kWarps; ++w) {
      if (w >= leaf.chunks) continue;
      float factor[4];
      load_exponents(factor, leaf.partial + w);
#pragma unroll
      for (int c = 0; c < 4; ++c) factor[c] = exp2_fast(factor[c] - top[c]);
      const float4* o = outputs(leaf.partial + w);
#pragma unroll
      for (int v = 0; v < kQuadsPerLane; ++v) {
        add_scaled(leaf_o[v], o[min(lane + v * 32, kQuads - 1)], factor);
      }
    }
    fold(sum, leaf_o, top);
  }

  // Leaves [first, last), each in one partial, `offset` after its number.
  __device__ __forceinline__ void fold_partials(Sums& sum, int first, int last, int offset) const {
#pragma unroll(8 / kQuadsPerLane)
    for (int i = first; i < last; ++i) {
      float m[4];
      load_exponents(m, i + offset);
      const float4* o = outputs(i + offset);
      float4 part[kQuadsPerLane];
#pragma unroll
      for (int v = 0; v < kQuadsPerLane; ++v) part[v] = o[min(lane + v * 32, kQuads - 1)];
      fold(sum, part, m);
    }
  }

  // Outputs of the order's leaves [first, last), or of the anchor where it stands apart,
  // relative to each column's largest exponent.
  __device__ __forceinline__ Sums sum_outputs(const LeafOrder& order, int first, int last,
                                              bool apart) const {
    Sums sum = empty_sums();
    if (kSplits && order.info.split != 0) {
#pragma unroll 2
      for (int i = first; i < last; ++i) fold_chunks(sum, order.at(i));
      if (apart) fold_chunks(sum, order.anchor());
      return sum;
    }
    const int start = order.info.base + order.info.anchor_partials;
    if (!kAnchors) {
      fold_partials(sum, first, last, start);
      return sum;
    }
    const bool inside = order.inside && first <= order.before && order.before < last;
    const bool after = order.inside && first > order.before;
    int from = first;
    int to = inside ? order.before : last;
#pragma unroll 1
    for (int part = 0; part < 2; ++part) {  // before the anchor, after it
      fold_partials(sum, from, to, start - (part == 1 || after ? 1 : 0));
      if (!inside && !apart) break;
      if (part == 0) fold_chunks(sum, order.anchor());
      from = inside ? to + 1 : last;
      to = last;
    }
    return sum;
  }

  __device__ __forceinline__ static Sums empty_sums() {
    Sums sum = {};
#pragma unroll
    for (float& m : sum.m) m = kNoReference;
    return sum;
  }

  // Everything of this warp's run to shared memory.
  __device__ __forceinline__ void gather(const LeafOrder& order) {
    const bool apart = kAnchors && warp == 0 && order.info.anchor_partials > 0 && !order.inside;
    const int share = order.share();
    const int first = warp == 0 ? 0 : min((warp - 1) * share, order.count);
    const int last = warp == 0 ? 0 : min(warp * share, order.count);
    // Loaded before the outputs, added after them: one memory latency instead of two.
    StatSums mine;
    const int at = first + lane / kCols;
    if (at < last || (apart && lane < kCols)) {
      mine = load_leaf_stats(apart ? order.anchor() : order.at(at));
    }
    {
      const Sums outputs = sum_outputs(order, first, last, apart);
#pragma unroll
      for (int v = 0; v < kQuadsPerLane; ++v) {
        if (lane + v * 32 < kQuads) shared.o[warp][lane + v * 32] = outputs.o[v];
      }
    }
    // Twice where the run has the anchor: without it, for the sides' own log-sum-exps.
    const bool anchored = kAnchors && order.inside && warp == anchor_run(order);
#pragma unroll 1
    for (int pass = anchored ? 0 : 1; pass < 2; ++pass) {
      const bool leave_out = pass == 0;
      StatSums sums = mine;
      if (leave_out && at < last && order.is_anchor(at)) {
        shared.anchor[lane % kCols] = mine;
        sums = StatSums{};
      }
      for (int i = at + kStep; i < last; i += kStep) {
        const StatSums more = load_leaf_stats(order.at(i));
        if (leave_out && order.is_anchor(i)) {
          shared.anchor[lane % kCols] = more;
        } else {
          sums.add(more);
        }
      }
      for (int step = kCols; step < 32; step *= 2) sums.add_lane(step);
      if (lane < kCols) (leave_out ? shared.without : shared.stats[warp])[lane] = sums;
    }
  }

  // The run that has the anchor; 0 if none has.
  __device__ __forceinline__ static int anchor_run(const LeafOrder& order) {
    return order.inside ? 1 + order.before / order.share() : 0;
  }

  // All runs' sums; `anchored`, if not 0, is a run whose anchor is left out.
  __device__ __forceinline__ StatSums sum_runs(int anchored) const {
    const int column = lane % kCols;
    StatSums sums;
#pragma unroll
    for (int w = lane / kCols; w < kRuns; w += kStep) {
      if (w > 0) sums.add(w == anchored ? shared.without[column] : shared.stats[w][column]);
    }
    for (int step = kCols; step < 32; step *= 2) sums.add_lane(step);
    return sums;
  }

  // What warp 0 finds out about a lane's column.
  struct Weighed {
    StatSums runs;
    float wa;
    float wc;
    Logs logs;
  };

  // Warp 0: adds the runs' sums and decides each column's weights.
  __device__ __forceinline__ Weighed weigh(const AnchorPolicy& policy, bool failed) {
    const int column = lane % kCols;
    const StatSums a = shared.stats[0][column];  // the anchor, where it stands apart
    Weighed found;
    found.runs = sum_runs(0);
    const StatSums& c = found.runs;
    const float total_a = a.total();
    const float total_c = c.total();
    found.logs = {natural_lse(a.m, total_a), natural_lse(c.m, total_c), 0.0F};
    found.logs.joint = joint_lse(found.logs.anchor, found.logs.context);
    const float share = policy.weight(found.logs.context, found.logs.anchor);
    found.wa = failed ? NAN : total_a > 0.0F ? share / total_a : 0.0F;
    found.wc = failed ? NAN : total_c > 0.0F ? (1.0F - share) / total_c : 0.0F;
#pragma unroll
    for (int w = lane / kCols; w < kRuns; w += kStep) {
      const float factor = exp2_fast(shared.stats[w][column].m - c.m);
      shared.weight[w][column] = w == 0 ? found.wa : found.wc * factor;
    }
    return found;
  }

  // Warp 0: log-sum-exps and masses.
  __device__ __forceinline__ void report(const LeafOrder& order, Weighed& found,
                                         bool failed) const {
    const int column = lane % kCols;
    if (kAnchors && order.inside) {
      const StatSums inside = shared.anchor[column];
      const StatSums without = sum_runs(anchor_run(order));
      found.logs.anchor = natural_lse(inside.m, inside.total());
      found.logs.context = natural_lse(without.m, without.total());
    }
    if (failed) found.logs = {NAN, NAN, NAN};
    if (lane >= args.shape.group) return;
    const int head = kv_head * args.shape.group + column;
    write_lse(found.logs, head);
    if (args.mass != nullptr) {
      write_mass(shared.stats[0][column], found.runs, found.wa, found.wc, head);
    }
  }

  __device__ __forceinline__ void write_mass(const StatSums& a, const StatSums& c, float wa,
                                             float wc, int head) const {
    float* mass =
        args.mass + (static_cast<std::size_t>(sequence) * args.shape.q_heads + head) * kClasses;
#pragma unroll
    for (int i = 0; i < kClasses; ++i) mass[i] = fmaf(a.l[i], wa, __fmul_rn(c.l[i], wc));
  }

  __device__ __forceinline__ void write_lse(const Logs& logs, int head) const {
    const std::size_t at = static_cast<std::size_t>(sequence) * args.shape.q_heads + head;
    if (args.lse_context != nullptr) args.lse_context[at] = logs.context;
    if (args.lse_anchor != nullptr) args.lse_anchor[at] = logs.anchor;
    if (args.lse_joint != nullptr) args.lse_joint[at] = logs.joint;
  }

  __device__ __forceinline__ void write_outputs() const {
    constexpr int kDims = kDim / kSlices;
    auto* out = static_cast<__nv_bfloat16*>(args.o);
    // Where latency counts, warp 0 has something else to do.
    constexpr int kFirst = kFor == MergeFor::kFew ? 32 : 0;
    constexpr int kWriters = kRuns * 32 - kFirst;
    for (int i = static_cast<int>(threadIdx.x) - kFirst; i < kDims * args.shape.group;
         i += kWriters) {
      const int column = i / kDims;
      const int d = i % kDims;
      float value = 0.0F;
#pragma unroll
      for (int w = 0; w < kRuns; ++w) {
        const float* o = reinterpret_cast<const float*>(shared.o[w]);
        value = fmaf(o[d * kCols + column], shared.weight[w][column], value);
      }
      const std::size_t head = static_cast<std::size_t>(sequence) * args.shape.q_heads +
                               kv_head * args.shape.group + column;
      out[head * kDim + slice * kDims + d] = __float2bfloat16(value);
    }
  }
};

__device__ __forceinline__ SequenceInfo sequence_info(const PlanView& plan, int sequence) {
  const auto* from = reinterpret_cast<const int4*>(plan.sequences + sequence);
  const int4 head = __ldg(from);
  const int4 tail = __ldg(from + 1);
  return {head.x, head.y, head.z, head.w, {tail.x, tail.y, tail.z}, 0};
}

// Grid: (KV heads x slices, sequences).
template <int kDim, int kCols, int kSlices, MergeFor kFor>
__global__ void __launch_bounds__(kRuns * 32, kFor == MergeFor::kFew ? 1 : 3)
    merge_kernel(const __grid_constant__ DecodeArgs args) {
  using Cta = MergeCta<kDim, kCols, kSlices, kFor>;
  __shared__ MergeShared<kDim, kCols, kSlices> shared;
  Cta cta{args, shared, static_cast<int>(blockIdx.y), static_cast<int>(blockIdx.x) / kSlices,
          static_cast<int>(blockIdx.x) % kSlices};
  // Tables and plan are older than the kernel before, so they are read without waiting.
  const SequenceInfo info = sequence_info(args.plan, cta.sequence);
  // Let in early, the next decode kernel finds room on some multiprocessors sooner than on
  // others, and those get more of its first items: no harm in a split step, of one item each.
  if (kFor == MergeFor::kFew && info.split != 0) launch_dependents();
  const int column = min(cta.lane % kCols, args.shape.group - 1);
  const AnchorPolicy policy(args.policy, args.shape.q_heads, info.anchor,
                            cta.kv_head * args.shape.group + column);
  const LeafOrder order(info, policy.mode);
  wait_for_previous_kernel();
  const bool failed = args.plan.header->status != 0;
  cta.gather(order);
  __syncthreads();
  typename Cta::Weighed found;
  if (cta.warp == 0) found = cta.weigh(policy, failed);
  __syncthreads();
  if (kFor != MergeFor::kFew || cta.warp > 0) cta.write_outputs();
  if (cta.warp == 0 && cta.slice == 0) cta.report(order, found, failed);
}

}  // namespace fieldprint::cuda
