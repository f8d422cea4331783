// What the warps of a prefill CTA share in shared memory.
#pragma once

#include "attention/cuda/kernels/prefill_params.cuh"
#include "attention/cuda/kernels/ptx.cuh"

namespace fieldprint::cuda {

// Items the scheduling warp may be ahead, the current one included; each has its queries.
inline constexpr int kItemBuffers = 2;
inline constexpr int kPartBytes = kTileSlots * 128;  // 64 columns of a tile

// Whether the step's tables make no sense; its outputs are then NaN. A bad page id alone is
// found later and spoils its own sequence only.
__device__ __forceinline__ bool plan_failed(const PrefillHeader& header) {
  return (header.status & ~static_cast<std::uint32_t>(kPlanBadPageId)) != 0;
}

// The query of a packed row: row / group, as a multiplication with ceil(2^32 / group). Exact for
// rows below 2^29 (check_queries) and groups up to 8.
__device__ __forceinline__ int query_of_row(const PrefillArgs& args, int row) {
  const auto quotient = __umulhi(static_cast<std::uint32_t>(row), args.group_magic);
  return args.group_magic == 0 ? row : static_cast<int>(quotient);
}

// Walks packed rows in steps of kStep: where in q or o each one's head lies, by addition only.
template <int kDim, int kStep>
struct RowCursor {
  std::int64_t offset;  // bytes from the first head of the sequence's first query in the group
  std::int64_t step;    // added for each step
  std::int64_t leave;   // added when a step leaves the query
  int head;
  int head_step;
  int group;

  __device__ __forceinline__ RowCursor(const PrefillArgs& args, int row) : group(args.shape.group) {
    constexpr std::int64_t kHeadBytes = kDim * 2;
    const std::int64_t query_bytes = args.shape.q_heads * kHeadBytes;
    const int query = query_of_row(args, row);
    const int queries = query_of_row(args, kStep);
    head = row - query * group;
    head_step = kStep - queries * group;
    offset = query * query_bytes + head * kHeadBytes;
    step = queries * query_bytes + head_step * kHeadBytes;
    leave = query_bytes - group * kHeadBytes;
  }
  __device__ __forceinline__ void advance() {
    head += head_step;
    const bool leaves = head >= group;
    offset += step + (leaves ? leave : 0);
    head -= leaves ? group : 0;
  }
};

// A run of an item's tiles: the anchor's, or a segment's.
struct TileRun {
  std::int32_t end = 0;   // the item's tiles up to and including these
  std::int32_t page = 0;  // first page of the run's first tile
  std::int32_t last = 0;  // pages from here on are another run's
};
inline constexpr int kTileRuns = kSegments + 1;

struct PrefillItem {
  PrefillSequence of;
  std::int32_t kv_head = 0;  // -1: no more work
  std::int32_t first_row = 0;
  std::int32_t first_pos = 0;   // of the item's first query
  std::int32_t last_pos = 0;    // of its last one
  std::int32_t statistics = 0;  // whether any of its rows' statistics are wanted
  std::int32_t apart = 0;       // the anchor's softmax is one of its own: not joint mode
  // The anchor's run is the first where it stands apart, otherwise the second.
  TileRun runs[kTileRuns];

  __device__ __forceinline__ int tiles() const { return runs[kTileRuns - 1].end; }
  __device__ __forceinline__ int anchor_run() const { return apart != 0 ? 0 : 1; }
  __device__ __forceinline__ int anchor_begin() const { return apart != 0 ? 0 : runs[0].end; }
  __device__ __forceinline__ int anchor_end() const { return runs[anchor_run()].end; }
  __device__ __forceinline__ bool in_anchor(int tile) const {
    return tile >= anchor_begin() && tile < anchor_end();
  }
};

// Row of q (and of o) of the first head of the item's group at the sequence's first query.
__device__ __forceinline__ std::size_t first_head_row(const PrefillArgs& args,
                                                      const PrefillItem& item) {
  return static_cast<std::size_t>(item.of.q_start) * args.shape.q_heads +
         static_cast<std::size_t>(item.kv_head * args.shape.group);
}

// How many lanes of a warp arrive at a barrier for it. One is enough after __syncwarp(), but
// compute-sanitizer's racecheck follows barriers thread by thread: a build for it defines
// FIELDPRINT_RACECHECK and has every lane arrive.
#ifdef FIELDPRINT_RACECHECK
inline constexpr int kArrivals = 32;
#else
inline constexpr int kArrivals = 1;
#endif

// The warp has done its part.
__device__ __forceinline__ void warp_arrive(std::uint64_t& bar) {
  __syncwarp();
  if (kArrivals == 32 || elect_lane()) mbarrier_arrive(smem_address(&bar));
}
// The same, and `bytes` more are to come from the copy engine.
__device__ __forceinline__ void warp_arrive_expect(std::uint64_t& bar, std::uint32_t bytes) {
  __syncwarp();
  if ((threadIdx.x & 31) == 0) {
    mbarrier_arrive_expect(smem_address(&bar), bytes);
  } else if (kArrivals == 32) {
    mbarrier_arrive(smem_address(&bar));
  }
  __syncwarp();
}

enum TileFlags : std::uint32_t {
  kTileMasked = 1,  // some slot is absent, or later than some query of the item
  kTileBiased = 2,  // an anchor's, with beta
  kTileBroken = 4,  // names a page outside the pool
  kTileLeft = 8,    // some slot is before some query's window
};

// What the computing warps need to know of a tile besides K and V.
struct alignas(16) TileInfo {
  float beta[kTileSlots];  // divided by the scale
  std::int32_t first_pos[kTileSlabs];
  std::int32_t rows[kTileSlabs];     // of each slab, 0..16
  std::uint8_t classes[kTileSlabs];  // | kAnchorClass: an anchor's rows
  std::uint32_t flags;
};

// Softmax sums per class, relative to the exponent at the class's last flush: the context's,
// then the anchor's.
inline constexpr int kAnchorClass = kClasses;
struct RowClassSums {
  float l[2 * kClasses][64];
  float m[2 * kClasses][64];
};

template <int kDim>
struct PrefillShared {
  static constexpr int kParts = kDim / 64;
  static constexpr int kTileBytes = kParts * kPartBytes;
  static constexpr int kTileBuffers = PrefillShape<kDim>::kTileBuffers;
  static constexpr int kQueryPart = PrefillShape<kDim>::kItemRows * 128;  // 64 columns, in bytes
  alignas(1024) unsigned char query[kItemBuffers][kParts * kQueryPart];   // then the outputs
  alignas(1024) unsigned char k[kTileBuffers][kTileBytes];
  alignas(1024) unsigned char v[kTileBuffers][kTileBytes];
  TileInfo info[kTileBuffers];
  PrefillItem items[kItemBuffers];
  RowClassSums sums[kPrefillGroups];
  // Barriers, by who arrives; a warp with kArrivals lanes unless noted.
  std::uint64_t item_full[kItemBuffers];   // scheduling warp
  std::uint64_t item_empty[kItemBuffers];  // computing and loading warps
  std::uint64_t query_full[kItemBuffers];  // scheduling and query warp, all lanes
  std::uint64_t k_full[kTileBuffers];      // K warp and copy engine
  std::uint64_t k_empty[kTileBuffers];     // computing warps
  std::uint64_t v_full[kTileBuffers];      // V warp and copy engine, or V warp after corrections
  std::uint64_t v_empty[kTileBuffers];     // computing warps
  std::uint64_t v_landed;                  // V warp and copy engine: rows that need corrections

  __device__ __forceinline__ void initialise() {
    constexpr int kComputing = kPrefillComputeThreads / 32 * kArrivals;
    for (int i = 0; i < kItemBuffers; ++i) {
      mbarrier_init(smem_address(&item_full[i]), kArrivals);
      mbarrier_init(smem_address(&item_empty[i]), kComputing + 2 * kArrivals);
      mbarrier_init(smem_address(&query_full[i]), 64);
    }
    for (int i = 0; i < kTileBuffers; ++i) {
      mbarrier_init(smem_address(&k_full[i]), kArrivals);
      mbarrier_init(smem_address(&k_empty[i]), kComputing);
      mbarrier_init(smem_address(&v_full[i]), kArrivals);
      mbarrier_init(smem_address(&v_empty[i]), kComputing);
    }
    mbarrier_init(smem_address(&v_landed), kArrivals);
    fence_mbarrier_init();
  }
};
static_assert(sizeof(PrefillShared<128>) <= 227 * 1024, "one CTA's shared memory");
static_assert(sizeof(PrefillShared<256>) <= 227 * 1024, "one CTA's shared memory");

// Walks a ring of buffers: which one, and the parity of its barrier's next phase.
template <int kBuffers>
struct Ring {
  int at = 0;
  std::uint32_t parity = 0;
  __device__ __forceinline__ void advance() {
    if (++at == kBuffers) {
      at = 0;
      parity ^= 1U;
    }
  }
  // The place before this one.
  __device__ __forceinline__ Ring previous() const {
    return {at == 0 ? kBuffers - 1 : at - 1, at == 0 ? parity ^ 1U : parity};
  }
};

}  // namespace fieldprint::cuda
