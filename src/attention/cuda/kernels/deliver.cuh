// What the warps of a decode CTA share, and the warp that delivers finished items:
// it merges a leaf's chunks into a partial. merge.cuh merges partials into outputs.
#pragma once

#include "attention/cuda/kernels/tile.cuh"
#include "attention/cuda/kernels/work.cuh"

namespace fieldprint::cuda {

enum class DecodeMode { kAttend, kReadOnly };  // kReadOnly: loads and nothing else

// Four warps compute. A fifth merges and writes what they found; a sixth finds work and
// loads it. So no memory round trip but the wait for its slabs stalls a computing warp.
inline constexpr int kComputeThreads = kWarps * 32;
inline constexpr int kDecodeThreads = kComputeThreads + 64;

// A finished item on its way to the delivering warp.
struct Delivery {
  int4 item;
  WorkKind kind;
  int kv_head;
};

// Items the loading warp may be ahead, the current one included.
inline constexpr int kItemSlots = 2;

// An item as the loading warp hands it to the computing warps.
template <int kDim, int kCols>
struct ItemSlot {
  static constexpr int kQueryStride = kDim * 2;           // padding would cost the second CTA
  alignas(16) unsigned char query[kCols * kQueryStride];  // leaf items
  // Biases divided by the scale: of a leaf's rows, or of a chunk's; a leaf's `biased` says
  // whether they matter.
  union {
    float beta[kLeafSlots];
    struct {
      float beta[kChunkSlots];
      int2 member[32];  // AnchorMember
    } chunk;
  } rows;
  // Of slab i (of the leaf, or of the anchor's chunk): rows | class << 5; 0 = not there.
  alignas(8) std::uint8_t slab[kLeafSlots / kSlabRows];
  int4 item;
  WorkKind kind;
  int kv_head;
  bool biased;
};

// CTAs that share a multiprocessor.
template <int kDim>
inline constexpr int kDecodeCtas = kDim > 128 ? 1 : 2;

template <int kDim, int kCols>
struct DecodeShared {
  // Slabs in flight per warp: 192 KiB per multiprocessor, or 128 where chunks are wider.
  static constexpr int kStages = (kCols == 4 ? 384 : 256) / kDim * 2 / kDecodeCtas<kDim>;
  // Finished items that may wait for the delivering warp.
  static constexpr int kChunkSlots = 1;
  // What a warp found in its chunk of a leaf.
  struct Chunk {
    float o[kDim][kCols];
    float l[kClasses][kCols];
    float m[kCols];
  };
  alignas(1024) unsigned char slabs[kWarps][kStages][2 * kSlabBytes<kDim>];
  union {
    Chunk chunks[kChunkSlots][kWarps];
    float4 scores[kChunkSlabs][32];  // of a chunk item that all warps work at once, per lane
  } found;
  ClassSums sums[kWarps];
  ItemSlot<kDim, kCols> items[kItemSlots];
  Delivery delivery[kChunkSlots];
  // Barriers; unless noted, every thread of the named warps arrives.
  std::uint64_t full[kWarps][kStages];   // the copy engine
  std::uint64_t empty[kWarps][kStages];  // one arrival per computing warp
  std::uint64_t item_full[kItemSlots];   // the loading warp
  std::uint64_t item_empty[kItemSlots];  // the computing warps
  std::uint64_t delivered[kChunkSlots];  // the computing warps
  std::uint64_t taken[kChunkSlots];      // the delivering warp
  std::uint32_t anchor_slab[kChunkSlabs];

  __device__ __forceinline__ void initialise(int thread) {
    if (thread < kWarps * kStages) {
      mbarrier_init(smem_address(&full[0][0] + thread), 1);
      mbarrier_init(smem_address(&empty[0][0] + thread), 1);
    }
    if (thread < kItemSlots) {
      mbarrier_init(smem_address(&item_full[thread]), 32);
      mbarrier_init(smem_address(&item_empty[thread]), kComputeThreads);
    }
    if (thread < kChunkSlots) {
      mbarrier_init(smem_address(&delivered[thread]), kComputeThreads);
      mbarrier_init(smem_address(&taken[thread]), 32);
    }
    fence_mbarrier_init();
  }
};
static_assert(sizeof(DecodeShared<128, 4>) <= 113 * 1024, "two CTAs per multiprocessor");
static_assert(sizeof(DecodeShared<128, 8>) <= 113 * 1024, "two CTAs per multiprocessor");
static_assert(sizeof(DecodeShared<256, 4>) <= 227 * 1024, "one CTA per multiprocessor");
static_assert(sizeof(DecodeShared<256, 8>) <= 227 * 1024, "one CTA per multiprocessor");

// sum + x * factor, column by column, each in one rounding wherever it is compiled.
__device__ __forceinline__ void add_scaled(float4& sum, const float4& x, const float (&factor)[4]) {
  sum.x = fmaf(x.x, factor[0], sum.x);
  sum.y = fmaf(x.y, factor[1], sum.y);
  sum.z = fmaf(x.z, factor[2], sum.z);
  sum.w = fmaf(x.w, factor[3], sum.w);
}

// The fifth warp.
template <int kDim, int kCols>
struct DeliveringWarp {
  using Shared = DecodeShared<kDim, kCols>;
  using Chunks = typename Shared::Chunk[kWarps];
  const DecodeArgs& args;
  Shared& shared;
  int lane = threadIdx.x & 31;

  static constexpr int kQuadsPerLane = kDim * kCols / 4 / 32;
  std::uint64_t policy = kEvictNormal;

  // Partials that fit the L2 cache beside the stream of K and V stay there until merged.
  __device__ __forceinline__ void choose_policy() {
    constexpr std::int64_t kMostBytes = 36 << 20;
    const PlanHeader& header = *args.plan.header;
    const std::int64_t partials =
        std::int64_t{header.leaf_items} + std::int64_t{header.anchor_items} * kAnchorColumnGroups;
    const std::int64_t bytes = partials * args.shape.kv_heads * kDim * kCols * 4;
    policy = bytes <= kMostBytes ? kEvictLast : kEvictNormal;
  }

  // Merges the four chunks of a leaf, in order, into its partial in global memory: merge.cuh
  // does the same to chunks that lie there, operation for operation.
  __device__ __forceinline__ void merge_chunks(std::size_t partial, const Chunks& chunks) {
    float factor[kWarps][4];
    const int column = kCols == 4 ? 0 : (lane & 1) * 4;  // first of this lane's four
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      float top = chunks[0].m[column + c];
#pragma unroll
      for (int w = 1; w < kWarps; ++w) top = fmaxf(top, chunks[w].m[column + c]);
#pragma unroll
      for (int w = 0; w < kWarps; ++w) factor[w][c] = exp2_fast(chunks[w].m[column + c] - top);
    }
    auto* o = reinterpret_cast<float4*>(args.plan.partial_o + partial * kDim * kCols);
#pragma unroll
    for (int v = 0; v < kQuadsPerLane; ++v) {
      const int quad = lane + v * 32;
      float4 sum = {0.0F, 0.0F, 0.0F, 0.0F};
#pragma unroll
      for (int w = 0; w < kWarps; ++w) {
        const float4 part = reinterpret_cast<const float4*>(&chunks[w].o[0][0])[quad];
        add_scaled(sum, part, factor[w]);
      }
      store_hinted(o + quad, sum, policy);
    }
    float* stats = args.plan.partial_stats + partial * kStatRows * kCols;
    for (int i = lane; i < kStatRows * kCols; i += 32) {
      const int row = i / kCols;
      const int of = i % kCols;
      float top = chunks[0].m[of];
      for (int w = 1; w < kWarps; ++w) top = fmaxf(top, chunks[w].m[of]);
      float l = 0.0F;
      for (int w = 0; w < kWarps && row > 0; ++w) {
        l = fmaf(chunks[w].l[row - 1][of], exp2_fast(chunks[w].m[of] - top), l);
      }
      stats[i] = row == 0 ? top : l;
    }
  }

  // Takes finished items until one of kind kNone. An anchor's are already in place.
  __device__ __forceinline__ void run(DecodeMode mode) {
    choose_policy();
    for (int count = 0;; ++count) {
      const int slot = count % Shared::kChunkSlots;
      mbarrier_wait(smem_address(&shared.delivered[slot]), count / Shared::kChunkSlots & 1);
      const Delivery delivery = shared.delivery[slot];
      if (delivery.kind == WorkKind::kLeaf && mode == DecodeMode::kAttend) {
        const auto partial = static_cast<std::size_t>(delivery.item.w) * args.shape.kv_heads;
        merge_chunks(partial + delivery.kv_head, shared.found.chunks[slot]);
      }
      mbarrier_arrive(smem_address(&shared.taken[slot]));
      if (delivery.kind == WorkKind::kNone) return;
    }
  }
};

}  // namespace fieldprint::cuda
