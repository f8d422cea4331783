// The loading warp of a decode CTA: draws tickets, finds the pages and keeps the computing
// warps' rings of slabs full with the copy engine.
#pragma once

#include "attention/cuda/kernels/deliver.cuh"

namespace fieldprint::cuda {

template <int kDim, int kCols, DecodeMode kMode>
struct LoadingWarp {
  using Shared = DecodeShared<kDim, kCols>;
  static constexpr int kQueryParts = kDim * kCols / 8 / 32;  // of 16 bytes, per lane

  // What an item needs besides its slabs, on the way from global memory.
  struct Operands {
    int4 query[kQueryParts];
    float4 beta[kWarps];  // of an anchor's chunk the first only
    int2 member;
  };

  const DecodeArgs& args;
  const CUtensorMap* k_map;
  const CUtensorMap* v_map;
  Shared& shared;
  int lane = threadIdx.x & 31;
  int stage[kWarps] = {};
  std::uint32_t parity[kWarps] = {};  // of the next wait for an empty stage, inverted

  template <int kWarp>
  __device__ __forceinline__ void issue(const Work& work, int slab) {
    if ((work.slabs >> slab & 1U) == 0) return;
    const std::int32_t row = __shfl_sync(~0U, work.row, slab);
    mbarrier_wait(smem_address(&shared.empty[kWarp][stage[kWarp]]), parity[kWarp] ^ 1U);
    if (lane == 0) {
      const std::uint32_t bar = smem_address(&shared.full[kWarp][stage[kWarp]]);
      const std::uint32_t dst = smem_address(shared.slabs[kWarp][stage[kWarp]]);
      const std::uint64_t policy = work.anchored(work.item) ? kEvictLast : kEvictFirst;
      mbarrier_arrive_expect(bar, 2 * kSlabBytes<kDim>);
      tensor_load_3d(dst, k_map, bar, 0, row, 0, policy);
      tensor_load_3d(dst + kSlabBytes<kDim>, v_map, bar, 0, row, 0, policy);
    }
    __syncwarp();
    ++stage[kWarp];
    if (stage[kWarp] == Shared::kStages) {
      stage[kWarp] = 0;
      parity[kWarp] ^= 1U;
    }
  }

  // The rank-th slab of each warp: eight of a leaf's chunk, or two of an anchor's.
  __device__ __forceinline__ void issue_rank(const Work& work, int rank) {
    const int each = work.kind == WorkKind::kLeaf ? kChunkSlabs : kChunkSlabs / kWarps;
    if (rank >= each) return;
    issue<0>(work, rank);
    issue<1>(work, each + rank);
    issue<2>(work, 2 * each + rank);
    issue<3>(work, 3 * each + rank);
  }

  __device__ __forceinline__ Operands load_operands(const Work& work) const {
    Operands operands{};
    if (kMode != DecodeMode::kAttend || work.kind == WorkKind::kNone) return operands;
    const int4 of = work.item;
    const bool leaf = work.kind == WorkKind::kLeaf;
    if (leaf) {
      const std::size_t row = static_cast<std::size_t>(of.x & kSequenceMask) * args.shape.q_heads +
                              work.kv_head * args.shape.group;
      const auto* q = static_cast<const int4*>(args.q) + row * (kDim / 8);
#pragma unroll
      for (int i = 0; i < kQueryParts; ++i) {
        const int part = lane + i * 32;
        if (part / (kDim / 8) < args.shape.group) operands.query[i] = __ldg(q + part);
      }
    } else if (work.kind == WorkKind::kAnchor && lane < of.w) {
      operands.member = __ldg(reinterpret_cast<const int2*>(args.plan.members + of.z + lane));
    } else if (work.kind == WorkKind::kChunk) {
      operands.member = int2{of.x | (of.z & ~0xFFFF), of.w};
    }
    if (args.beta == nullptr || !work.anchored(of)) return operands;
    const std::size_t head =
        static_cast<std::size_t>(work.anchor(of)) * args.shape.kv_heads + work.kv_head;
    const float* beta =
        args.beta + head * kMaxAnchorSlots + (leaf ? 0 : of.y & 0xFF) * kChunkSlots + lane * 4;
#pragma unroll
    for (int i = 0; i < kWarps; ++i) {
      if (i > 0 && !leaf) break;
      const float* from = beta + i * kChunkSlots;
      operands.beta[i] = float4{__ldg(from), __ldg(from + 1), __ldg(from + 2), __ldg(from + 3)};
    }
    return operands;
  }

  // Fills the item's slot for the computing warps.
  __device__ __forceinline__ void publish(const Work& work, const Operands& operands, int count) {
    const int index = count % kItemSlots;
    auto& slot = shared.items[index];
    mbarrier_wait(smem_address(&shared.item_empty[index]), (count / kItemSlots & 1) ^ 1);
    const bool leaf = work.kind == WorkKind::kLeaf;
    const bool biased = args.beta != nullptr && work.anchored(work.item);
    if (leaf) {
#pragma unroll
      for (int i = 0; i < kQueryParts; ++i) {
        const int part = lane + i * 32;
        const int row = part / (kDim / 8);
        *reinterpret_cast<int4*>(slot.query + row * slot.kQueryStride + part % (kDim / 8) * 16) =
            operands.query[i];
      }
    }
    if (!leaf || biased) {
#pragma unroll
      for (int i = 0; i < kWarps; ++i) {
        if (i > 0 && !leaf) break;
        const float4 beta = operands.beta[i];
        float* to = slot.rows.beta + i * kChunkSlots + lane * 4;
        to[0] = beta.x * args.inv_scale;
        to[1] = beta.y * args.inv_scale;
        to[2] = beta.z * args.inv_scale;
        to[3] = beta.w * args.inv_scale;
      }
    }
    if (!leaf) slot.rows.chunk.member[lane] = operands.member;
    slot.slab[lane] = static_cast<std::uint8_t>(work.valid == 0 ? 0 : work.valid | work.cls << 5);
    if (lane == 0) {
      slot.item = work.item;
      slot.kind = work.kind;
      slot.kv_head = work.kv_head;
      slot.biased = biased;
    }
    mbarrier_arrive(smem_address(&shared.item_full[index]));
  }

  // The first two tickets of a CTA are fixed; later ones are drawn two items ahead.
  __device__ __forceinline__ void run() {
    const int grid = static_cast<int>(gridDim.x);
    Work work;
    Work next;
    work.open(args.plan, static_cast<int>(blockIdx.x));
    const Agenda agenda(*args.plan.header, args.shape.kv_heads, grid);
    work.resolve(args);
    Operands operands = load_operands(work);
    __syncthreads();  // the barriers are initialised; what is above needs none of them
    int ticket = static_cast<int>(blockIdx.x) + grid;
    for (int count = 0;; ++count) {
      if (count == 0 && work.kind != WorkKind::kNone) issue_rank(work, 0);
      publish(work, operands, count);
      if (work.kind == WorkKind::kNone) break;
      int drawn = 0;
      if (lane == 0) drawn = static_cast<int>(atomicAdd(&args.plan.header->ticket, 1U)) + 2 * grid;
      if (count == 0) {
        next.open(args.plan, ticket);
      } else {
        next.describe(args.plan, args.shape, agenda, ticket);
      }
      for (int rank = count == 0 ? 1 : 0; rank < kChunkSlabs; ++rank) {
        issue_rank(work, rank);
        if (rank == 1) next.fetch(args);
        if (rank == 3) operands = load_operands(next);
      }
      next.resolve(args);
      work = next;
      ticket = __shfl_sync(~0U, drawn, 0);
    }
    if (lane == 0) retire();
  }

  // The last CTA to finish makes the plan ready for the next launch.
  __device__ __forceinline__ void retire() {
    if (atomicAdd(&args.plan.header->finished, 1U) + 1 != gridDim.x) return;
    args.plan.header->ticket = 0;
    args.plan.header->finished = 0;
  }
};

}  // namespace fieldprint::cuda
