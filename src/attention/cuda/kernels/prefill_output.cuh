// What becomes of a finished item: weights of the two sides, outputs, log-sum-exps, masses.
#pragma once

#include "attention/cuda/kernels/prefill_softmax.cuh"
#include "attention/cuda/kernels/weights.cuh"

namespace fieldprint::cuda {

// Tables that make no sense: every output is NaN.
__device__ __forceinline__ void spoil_outputs(const PrefillArgs& args, int head_dim) {
  const std::size_t rows = static_cast<std::size_t>(args.queries.tokens) * args.shape.q_heads;
  const std::size_t wanted =
      static_cast<std::size_t>(args.all_rows != 0 ? args.queries.tokens : args.table.batch) *
      args.shape.q_heads;
  const std::size_t stride = static_cast<std::size_t>(gridDim.x) * kPrefillComputeThreads;
  const std::size_t first =
      static_cast<std::size_t>(blockIdx.x) * kPrefillComputeThreads + threadIdx.x - kWarpgroup;
  auto* o = static_cast<std::uint32_t*>(args.o);
  for (std::size_t i = first; i < rows * head_dim / 2; i += stride) o[i] = 0x7FC07FC0U;
  for (std::size_t i = first; i < wanted; i += stride) {
    if (args.lse_context != nullptr) args.lse_context[i] = NAN;
    if (args.lse_anchor != nullptr) args.lse_anchor[i] = NAN;
    if (args.lse_joint != nullptr) args.lse_joint[i] = NAN;
  }
  for (std::size_t i = first; i < wanted * kClasses && args.mass != nullptr; i += stride) {
    args.mass[i] = NAN;
  }
}

// One computing thread's part.
template <int kDim>
struct RowWriter {
  const PrefillArgs& args;
  const PrefillItem& item;
  int group;
  int thread;

  using Of = PrefillShape<kDim>;

  // Log-sum-exp of one side's rows from its sums per class.
  __device__ __forceinline__ static float class_lse(const RowClassSums& sums, int side,
                                                    int within) {
    float top = kNoReference;
    for (int c = side; c < side + kClasses; ++c) top = fmaxf(top, sums.m[c][within]);
    float total = 0.0F;
    for (int c = side; c < side + kClasses; ++c) {
      total += sums.l[c][within] * exp2_fast(sums.m[c][within] - top);
    }
    return natural_lse(top, total);
  }

  // In joint mode both sides' class sums belong to one softmax, whose sums are sides[1].
  __device__ __forceinline__ bool joint() const {
    return item.apart == 0 && item.anchor_end() > item.anchor_begin();
  }

  __device__ __forceinline__ void write_mass(std::size_t at, int within, const SideSums (&sides)[2],
                                             int r, const RowClassSums* sums, float w) const {
    float l[2][kClasses];
    float total[2] = {0.0F, 0.0F};
#pragma unroll
    for (int side = 0; side < 2; ++side) {
#pragma unroll
      for (int c = 0; c < kClasses; ++c) {
        const float m = sides[joint() ? 1 : side].m[r];
        const int of = side == 0 ? kAnchorClass + c : c;
        l[side][c] = sums->l[of][within] * exp2_fast(sums->m[of][within] - m);
        total[side] += l[side][c];
      }
    }
    if (joint()) {
      // Class by class, so that rows of a class give the same bits on either side.
      total[1] = 0.0F;
#pragma unroll
      for (int c = 0; c < kClasses; ++c) {
        l[1][c] += l[0][c];
        l[0][c] = 0.0F;
        total[1] += l[1][c];
      }
      total[0] = 0.0F;
    }
    const float wa = total[0] > 0.0F ? w / total[0] : 0.0F;
    const float wc = total[1] > 0.0F ? (1.0F - w) / total[1] : 0.0F;
#pragma unroll
    for (int c = 0; c < kClasses; ++c) args.mass[at * kClasses + c] = l[0][c] * wa + l[1][c] * wc;
  }

  // Log-sum-exps of the two sides, and the anchor's weight.
  struct Sides {
    float lse_a;
    float lse_c;
    float w;
  };
  __device__ __forceinline__ Sides weigh(const SideSums (&sides)[2], int r, int head) const {
    const float lse_a = natural_lse(sides[0].m[r], sides[0].l[r]);
    const float lse_c = natural_lse(sides[1].m[r], sides[1].l[r]);
    const AnchorPolicy policy(args.policy, args.shape.q_heads, item.of.anchor, head);
    return {lse_a, lse_c, policy.weight(lse_c, lse_a)};
  }

  // Query of this thread's row r within its warpgroup's 64, and head of the KV head's group.
  struct Row {
    int query;
    int head;
    bool exists;
  };
  __device__ __forceinline__ Row row(int within) const {
    const int packed = item.first_row + (Of::kHalves ? 0 : group * 64) + within;
    const int query = query_of_row(args, packed);
    return {query, packed - query * args.shape.group, query < item.of.queries};
  }

  // What the outputs of the anchor and of the context are multiplied by.
  __device__ __forceinline__ float2 factors(const SideSums (&sides)[2], int r, int within) const {
    const float total_a = sides[0].l[r];
    const float total_c = sides[1].l[r];
    if (isnan(total_a) || isnan(total_c)) return {NAN, NAN};
    float w = 0.0F;
    if (item.apart != 0 && item.anchor_end() > 0) {
      const int head = row(within).head;
      w = weigh(sides, r, item.kv_head * args.shape.group + head).w;
    }
    return {total_a > 0.0F ? w / total_a : 0.0F, total_c > 0.0F ? (1.0F - w) / total_c : 0.0F};
  }

  // Statistics of this thread's row r, if they are wanted.
  __device__ __forceinline__ void write_statistics(const SideSums (&sides)[2], int r, int within,
                                                   const RowClassSums* sums) const {
    const Row of = row(within);
    const bool wanted = of.exists && (args.all_rows != 0 || of.query == item.of.queries - 1);
    if (!wanted || (thread & 3) != 0 || (Of::kHalves && group != 0)) return;
    const int head = item.kv_head * args.shape.group + of.head;
    const int line = args.all_rows != 0 ? item.of.q_start + of.query : item.of.sequence;
    const std::size_t at = static_cast<std::size_t>(line) * args.shape.q_heads + head;
    Sides found = weigh(sides, r, head);
    float both = joint_lse(found.lse_a, found.lse_c);
    if (joint() && sums != nullptr) {
      found.lse_a = class_lse(*sums, kAnchorClass, within);
      found.lse_c = class_lse(*sums, 0, within);
    }
    if (isnan(sides[0].l[r]) || isnan(sides[1].l[r])) {
      found = {NAN, NAN, NAN};
      both = NAN;
    }
    if (args.lse_context != nullptr) args.lse_context[at] = found.lse_c;
    if (args.lse_anchor != nullptr) args.lse_anchor[at] = found.lse_a;
    if (args.lse_joint != nullptr) args.lse_joint[at] = both;
    if (args.mass != nullptr) write_mass(at, within, sides, r, sums, found.w);
  }

  // `kept`: the anchor's outputs, this thread's first; nullptr = no anchor. The warpgroup's
  // half of `buffer` held its queries, which nobody needs any more.
  __device__ __forceinline__ void finish(float (&o)[Of::kColumns / 2], const SideSums (&sides)[2],
                                         const float4* kept, const RowClassSums* sums,
                                         unsigned char* buffer) const {
    const int lane = thread & 31;
    const int first = thread / 32 * 16 + (lane >> 2);
    const float2 weights[2] = {factors(sides, 0, first), factors(sides, 1, first + 8)};
    if (item.statistics != 0) {
      write_statistics(sides, 0, first, sums);
      write_statistics(sides, 1, first + 8, sums);
    }
#pragma unroll
    for (int i = 0; i < Of::kColumns / 2; ++i) o[i] *= weights[i / 2 % 2].y;
    if (kept != nullptr) {
#pragma unroll
      for (int i = 0; i < Of::kColumns / 8; ++i) {
        const float4 a = __ldcg(kept + i * kPrefillComputeThreads);
        o[4 * i] += a.x * weights[0].x;
        o[4 * i + 1] += a.y * weights[0].x;
        o[4 * i + 2] += a.z * weights[1].x;
        o[4 * i + 3] += a.w * weights[1].x;
      }
    }
    // Its rows, and its columns where the warpgroups share the rows.
    constexpr int kPart = PrefillShared<kDim>::kQueryPart;
    unsigned char* half = buffer + group * (Of::kHalves ? Of::kColumns / 64 * kPart : 64 * 128);
    queries_read();
#pragma unroll
    for (int j = 0; j < Of::kColumns / 8; ++j) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int within = first + 8 * r;
        *reinterpret_cast<std::uint32_t*>(half + j / 8 * kPart + within * 128 +
                                          ((j & 7) ^ (within & 7)) * 16 + (lane & 3) * 4) =
            pack_bf16(o[4 * j + 2 * r], o[4 * j + 2 * r + 1]);
      }
    }
    named_barrier(1 + group, kWarpgroup);
    copy_out(half);
  }

  // Waits for the last multiply of each warp that reads the queries whose place is needed.
  __device__ __forceinline__ void queries_read() const {
    if (Of::kHalves) {
      named_barrier(5, kPrefillComputeThreads);
    } else {
      named_barrier(1 + group, kWarpgroup);
    }
  }

  // The warpgroup's rows from shared memory to the output, 16 bytes a thread and step.
  __device__ __forceinline__ void copy_out(const unsigned char* half) const {
    constexpr int kRowParts = Of::kColumns / 8;
    constexpr int kStep = kWarpgroup / kRowParts;
    const int part = thread % kRowParts;
    auto* o = static_cast<unsigned char*>(args.o) + first_head_row(args, item) * kDim * 2 +
              part * 16 + (Of::kHalves ? group * Of::kColumns * 2 : 0);
    const int first = item.first_row + (Of::kHalves ? 0 : group * 64);
    const int left = item.of.queries * args.shape.group - first;
    int within = thread / kRowParts;
    RowCursor<kDim, kStep> cursor(args, first + within);
#pragma unroll
    for (int i = 0; i < 64 / kStep; ++i, within += kStep, cursor.advance()) {
      if (within >= left) continue;
      *reinterpret_cast<int4*>(o + cursor.offset) =
          *reinterpret_cast<const int4*>(half + part / 8 * PrefillShared<kDim>::kQueryPart +
                                         within * 128 + ((part & 7) ^ (within & 7)) * 16);
    }
  }
};

}  // namespace fieldprint::cuda
