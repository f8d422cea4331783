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

  struct Row {
    int packed;  // of the sequence
    int query;
    int head;
    bool exists;
    __device__ __forceinline__ std::size_t q_row(const PrefillArgs& args,
                                                 const PrefillItem& item) const {
      return (static_cast<std::size_t>(item.of.q_start) + query) * args.shape.q_heads + head;
    }
  };

  __device__ __forceinline__ Row row(int within) const {
    const int size = args.shape.group;
    const int packed = item.first_row + within;
    const bool exists = packed < item.of.queries * size;
    const int query = exists ? packed / size : 0;
    const int in_group = exists ? packed - query * size : 0;
    return {packed, query, item.kv_head * size + in_group, exists};
  }

  __device__ __forceinline__ void write_mass(std::size_t at, int within, const SideSums (&sides)[2],
                                             int r, const RowClassSums* sums, float w) const {
    float l[2][kClasses];
    float total[2] = {0.0F, 0.0F};
#pragma unroll
    for (int side = 0; side < 2; ++side) {
#pragma unroll
      for (int c = 0; c < kClasses; ++c) {
        l[side][c] =
            sums[side].l[c][within] * exp2_fast(sums[side].m[c][within] - sides[side].m[r]);
        total[side] += l[side][c];
      }
    }
    const float wa = total[0] > 0.0F ? w / total[0] : 0.0F;
    const float wc = total[1] > 0.0F ? (1.0F - w) / total[1] : 0.0F;
#pragma unroll
    for (int c = 0; c < kClasses; ++c) args.mass[at * kClasses + c] = l[0][c] * wa + l[1][c] * wc;
  }

  // Weights of the anchor's and of the context's output for this thread's row r, which is
  // `within` the warpgroup's 64; writes the row's statistics.
  __device__ __forceinline__ float2 weigh(int within, const SideSums (&sides)[2], int r,
                                          const RowClassSums* sums) const {
    const float total_a = sides[0].l[r];
    const float total_c = sides[1].l[r];
    const bool broken = isnan(total_a) || isnan(total_c);
    const float lse_a = broken ? NAN : natural_lse(sides[0].m[r], total_a);
    const float lse_c = broken ? NAN : natural_lse(sides[1].m[r], total_c);
    const Row of = row(group * 64 + within);
    const AnchorPolicy policy(args.policy, args.shape.q_heads, item.of.anchor, of.head);
    const float w = policy.weight(lse_c, lse_a);
    const float wa = broken ? NAN : total_a > 0.0F ? w / total_a : 0.0F;
    const float wc = broken ? NAN : total_c > 0.0F ? (1.0F - w) / total_c : 0.0F;
    const bool wanted = of.exists && (args.all_rows != 0 || of.query == item.of.queries - 1);
    if (!wanted || (thread & 3) != 0) return {wa, wc};
    const std::size_t at =
        args.all_rows != 0
            ? of.q_row(args, item)
            : static_cast<std::size_t>(item.of.sequence) * args.shape.q_heads + of.head;
    if (args.lse_context != nullptr) args.lse_context[at] = lse_c;
    if (args.lse_anchor != nullptr) args.lse_anchor[at] = lse_a;
    if (args.lse_joint != nullptr) args.lse_joint[at] = joint_lse(lse_a, lse_c);
    if (sums != nullptr) write_mass(at, within, sides, r, sums, broken ? NAN : w);
    return {wa, wc};
  }

  // `kept`: the anchor's outputs, this thread's first; nullptr = no anchor. The warpgroup's
  // half of `buffer` held its queries, which nobody needs any more.
  __device__ __forceinline__ void finish(float (&o)[kDim / 2], const SideSums (&sides)[2],
                                         const float4* kept, const RowClassSums* sums,
                                         unsigned char* buffer) const {
    const int lane = thread & 31;
    const int first = thread / 32 * 16 + (lane >> 2);
    const float2 weights[2] = {weigh(first, sides, 0, sums), weigh(first + 8, sides, 1, sums)};
#pragma unroll
    for (int i = 0; i < kDim / 2; ++i) o[i] *= weights[i / 2 % 2].y;
    if (kept != nullptr) {
#pragma unroll
      for (int i = 0; i < kDim / 8; ++i) {
        const float4 a = __ldcg(kept + i * kPrefillComputeThreads);
        o[4 * i] += a.x * weights[0].x;
        o[4 * i + 1] += a.y * weights[0].x;
        o[4 * i + 2] += a.z * weights[1].x;
        o[4 * i + 3] += a.w * weights[1].x;
      }
    }
    unsigned char* half = buffer + group * 64 * 128;
    named_barrier(3 + group, kWarpgroup);  // the last multiply of each warp has read its queries
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int within = first + 8 * r;
        *reinterpret_cast<std::uint32_t*>(half + j / 8 * kPartBytes + within * 128 +
                                          ((j & 7) ^ (within & 7)) * 16 + (lane & 3) * 4) =
            pack_bf16(o[4 * j + 2 * r], o[4 * j + 2 * r + 1]);
      }
    }
    named_barrier(3 + group, kWarpgroup);
    copy_out(half);
  }

  // The warpgroup's rows from shared memory to the output, 16 bytes a thread and step.
  __device__ __forceinline__ void copy_out(const unsigned char* half) const {
    constexpr int kRowParts = kDim / 8;
    const int part = thread % kRowParts;
#pragma unroll 4
    for (int within = thread / kRowParts; within < 64; within += kWarpgroup / kRowParts) {
      const Row of = row(group * 64 + within);
      if (!of.exists) continue;
      const int4 data = *reinterpret_cast<const int4*>(half + part / 8 * kPartBytes + within * 128 +
                                                       ((part & 7) ^ (within & 7)) * 16);
      auto* to = static_cast<unsigned char*>(args.o) + of.q_row(args, item) * kDim * 2 + part * 16;
      *reinterpret_cast<int4*>(to) = data;
    }
  }
};

}  // namespace fieldprint::cuda
