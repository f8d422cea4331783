// The loading warps of a prefill CTA: one draws items, it and another load their
// queries, one loads tiles of K and describes them, one loads tiles of V and clears what no row
// fills.
#pragma once

#include "attention/cuda/kernels/prefill_shared.cuh"
#include "attention/cuda/kernels/wgmma.cuh"

namespace fieldprint::cuda {

// How many of the warp's lanes, counted from the first, say yes; stops at the first no.
__device__ __forceinline__ int leading_lanes(bool yes) {
  const std::uint32_t no = ~__ballot_sync(~0U, yes);
  return no == 0 ? 32 : __ffs(static_cast<int>(no)) - 1;
}

// The first index in [0, count) of ascending `values` with values[index] > x, or count.
// The whole warp asks together.
__device__ __forceinline__ int warp_upper_bound(const std::int32_t* values, int count, int x) {
  const int lane = threadIdx.x & 31;
  int first = 0;
  int left = count;
  while (left > 0) {
    const int step = (left + 31) / 32;
    const int last = first + min((lane + 1) * step, left) - 1;  // of this lane's stretch
    const bool below = lane * step < left && __ldg(values + last) <= x;
    const int skipped = leading_lanes(below);
    const int start = min(skipped * step, left);
    if (step == 1) return first + start;
    first += start;
    left = min(step, left - start);
  }
  return first;
}

// Half of an item's queries, packed row by packed row; zeros beyond the sequence's last.
template <int kDim>
__device__ __forceinline__ void load_query(const PrefillArgs& args, const PrefillItem& item,
                                           unsigned char* to, int half) {
  constexpr int kRowParts = kDim / 8;  // of 16 bytes
  constexpr int kStep = 32 / kRowParts;
  const int lane = threadIdx.x & 31;
  const int part = lane % kRowParts;
  constexpr int kItemRows = PrefillShape<kDim>::kItemRows;
  const std::uint32_t column = smem_address(to) + (part / 8) * PrefillShared<kDim>::kQueryPart;
  const auto* q =
      static_cast<const unsigned char*>(args.q) + first_head_row(args, item) * kDim * 2 + part * 16;
  const int left = item.of.queries * args.shape.group - item.first_row;
  int r = half * (kItemRows / 2) + lane / kRowParts;
  RowCursor<kDim, kStep> cursor(args, item.first_row + r);
#pragma unroll 2  // more code would only be fetched more slowly at the start
  for (int i = 0; i < kItemRows / 2 / kStep; ++i, r += kStep, cursor.advance()) {
    const bool exists = r < left;
    copy_async_16(column + r * 128 + (((part & 7) ^ (r & 7)) << 4), exists ? q + cursor.offset : q,
                  exists ? 16 : 0);
  }
  wait_copies();
  fence_async_shared();
}

template <int kDim>
struct SchedulingWarp {
  using Shared = PrefillShared<kDim>;
  const PrefillArgs& args;
  Shared& shared;
  int lane = threadIdx.x & 31;

  // Tiles of a run of pages [first, last), as far as they reach into pages [begin, end) that
  // some query sees.
  __device__ __forceinline__ TileRun cut_run(int& tiles, int first, int last, int begin,
                                             int end) const {
    const int log2_pages = 3 - args.shape.log2_slabs_per_page;  // per tile
    const int skipped = max(begin - first, 0) >> log2_pages << log2_pages;
    first = min(first + skipped, last);
    const int count = max(min(end, last) - first, 0);
    tiles += (count + (1 << log2_pages) - 1) >> log2_pages;
    return {tiles, first, last};
  }

  // The page with the first row at or after position x, or the one before.
  __device__ __forceinline__ int first_page(const std::int32_t* positions, int pages, int x) const {
    return max(warp_upper_bound(positions, pages, x) - 1, 0);
  }

  // Adds the anchor's tiles. A window may hide them all.
  __device__ __forceinline__ TileRun anchor_run(const PrefillSequence& of, int& tiles,
                                                int first_seen) const {
    if (args.window == 0 || of.anchor_pages == 0) {
      return cut_run(tiles, 0, of.anchor_pages, 0, of.anchor_pages);
    }
    const std::size_t row = static_cast<std::size_t>(of.anchor) * args.table.anchor_stride;
    const std::int32_t* positions = args.queries.anchor_positions + row;
    const int last = of.anchor_pages - 1;
    const int rows = static_cast<int>(__ldg(args.table.anchor_pages + row + last) & 63U) + 1;
    const bool hidden = __ldg(positions + last) + rows <= first_seen;
    const int begin = first_page(positions, of.anchor_pages, first_seen);
    return cut_run(tiles, 0, hidden ? 0 : of.anchor_pages, begin, of.anchor_pages);
  }

  __device__ __forceinline__ void cut_tiles(PrefillItem& item) const {
    const PrefillSequence& of = item.of;
    const std::int32_t* positions = args.queries.page_positions +
                                    static_cast<std::size_t>(of.sequence) * args.table.page_stride;
    const int end = warp_upper_bound(positions, of.pages, item.last_pos);
    const int first_seen = item.first_pos - args.window + 1;
    const int begin = args.window == 0 ? 0 : first_page(positions, of.pages, first_seen);
    const int cuts[kSegments + 1] = {0, of.cuts[0], of.cuts[1], of.pages};
    item.apart =
        of.anchor >= 0 && args.policy.modes != nullptr && args.policy.modes[of.anchor] != 0;
    const int anchor_at = item.anchor_run();
    int tiles = 0;
    int segment = 0;
#pragma unroll
    for (int r = 0; r < kTileRuns; ++r) {
      if (r == anchor_at) {
        item.runs[r] = anchor_run(of, tiles, first_seen);
      } else {
        const int first = segment == 0 ? cuts[0] : segment == 1 ? cuts[1] : cuts[2];
        const int last = segment == 0 ? cuts[1] : segment == 1 ? cuts[2] : cuts[3];
        item.runs[r] = cut_run(tiles, first, last, begin, end);
        ++segment;
      }
    }
  }

  __device__ __forceinline__ PrefillItem describe(int ticket) const {
    constexpr int kItemRows = PrefillShape<kDim>::kItemRows;
    const PrefillHeader& header = *args.plan.header;
    PrefillItem item{};
    item.kv_head = -1;
    if (ticket >= header.tickets || plan_failed(header)) return item;
    const int rank = warp_upper_bound(args.plan.ends, header.ranks, ticket);
    item.of = args.plan.sequences[rank];
    const int group = args.shape.group;
    const int rows = item.of.queries * group;
    const int items = (rows + kItemRows - 1) / kItemRows;
    const int within = ticket - (rank == 0 ? 0 : args.plan.ends[rank - 1]);
    item.kv_head = within / items;
    const int index = items - 1 - (within - item.kv_head * items);
    item.first_row = index * kItemRows;
    const int last_query = query_of_row(args, min(item.first_row + kItemRows, rows) - 1);
    item.first_pos = item.of.first_pos + query_of_row(args, item.first_row);
    item.last_pos = item.of.first_pos + last_query;
    item.statistics = args.all_rows != 0 || last_query == item.of.queries - 1;
    cut_tiles(item);
    return item;
  }

  __device__ __forceinline__ void run() {
    int ticket = static_cast<int>(blockIdx.x);
    Ring<kItemBuffers> ring;
    for (;; ring.advance()) {
      const PrefillItem item = describe(ticket);
      int drawn = 0;
      if (lane == 0) {
        drawn = static_cast<int>(atomicAdd(&args.plan.header->ticket, 1U) + gridDim.x);
      }
      mbarrier_wait(smem_address(&shared.item_empty[ring.at]), ring.parity ^ 1U);
      if (lane == 0) shared.items[ring.at] = item;
      warp_arrive(shared.item_full[ring.at]);
      if (item.kv_head < 0) break;
      load_query<kDim>(args, item, shared.query[ring.at], 0);
      mbarrier_arrive(smem_address(&shared.query_full[ring.at]));
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

// The other half of each item's queries.
template <int kDim>
struct QueryWarp {
  const PrefillArgs& args;
  PrefillShared<kDim>& shared;

  __device__ __forceinline__ void run() {
    Ring<kItemBuffers> ring;
    for (;; ring.advance()) {
      mbarrier_wait(smem_address(&shared.item_full[ring.at]), ring.parity);
      const PrefillItem& item = shared.items[ring.at];
      if (item.kv_head < 0) return;
      load_query<kDim>(args, item, shared.query[ring.at], 1);
      // Nobody gives the item back before its queries are complete.
      mbarrier_arrive(smem_address(&shared.query_full[ring.at]));
    }
  }
};

// Lane i speaks of slab i % 8 of a tile.
struct TileSlab {
  std::int32_t page_row = 0;  // first row of the slab's page in the pool's order
  int rows = 0;               // present, 0..16
  int first_pos = 0;
  int cls = 0;
  int anchor_slot = -1;  // the tile's first slot, if it is an anchor's
  bool exists = false;   // its page does
  bool broken = false;
};

// Tiles of an item in order, one ahead of what the warp asks for. Few instructions a tile: the
// loading warps share the issue slots of those that compute.
template <int kDim>
struct TileWalk {
  const PrefillArgs& args;
  const PrefillItem& item;
  int slab = threadIdx.x & (kTileSlabs - 1);
  int tile = 0;  // the next to fetch
  int run = -1;
  int end = 0;   // of the run, in tiles
  int page = 0;  // this lane's page of the next tile
  int last = 0;
  const std::uint32_t* table = nullptr;
  const std::int32_t* positions = nullptr;
  // What fetch() found.
  std::uint32_t entry = 0;
  std::int32_t position = 0;
  int anchor_slot = -1;
  bool exists = false;

  __device__ __forceinline__ TileWalk(const PrefillArgs& a, const PrefillItem& i)
      : args(a), item(i) {}

  __device__ __forceinline__ int count() const { return item.tiles(); }

  // Goes on to the run that has the next tile.
  __device__ __forceinline__ void enter_run() {
    do {
      end = item.runs[++run].end;
    } while (end <= tile);
    const bool anchor = run == item.anchor_run();
    page = item.runs[run].page + (slab >> args.shape.log2_slabs_per_page);
    anchor_slot =
        anchor ? (item.runs[run].page << 4 << args.shape.log2_slabs_per_page) - kTileSlots : -1;
    last = item.runs[run].last;
    const std::size_t row =
        anchor ? static_cast<std::size_t>(item.of.anchor) * args.table.anchor_stride
               : static_cast<std::size_t>(item.of.sequence) * args.table.page_stride;
    table = (anchor ? args.table.anchor_pages : args.table.pages) + row;
    positions = anchor ? args.queries.anchor_positions : args.queries.page_positions;
    if (positions != nullptr) positions += row;
  }

  __device__ __forceinline__ void fetch() {
    exists = false;
    if (tile == end) {
      if (tile >= count()) return;
      enter_run();
    }
    ++tile;
    if (anchor_slot != -1) anchor_slot += kTileSlots;
    exists = page < last;
    if (exists) {
      entry = __ldg(table + page);
      position = positions == nullptr ? kBeforeAllQueries : __ldg(positions + page);
    }
    page += kTileSlabs >> args.shape.log2_slabs_per_page;
  }

  // What fetch() found. A missing page is read past the pool's end: as zeros.
  __device__ __forceinline__ TileSlab resolve() const {
    const int page_slabs = 1 << args.shape.log2_slabs_per_page;
    const int in_page = slab & (page_slabs - 1);
    const int page = static_cast<int>(entry >> 9);
    TileSlab result;
    result.exists = exists;
    result.anchor_slot = anchor_slot;
    result.broken = exists && page >= args.shape.page_count;
    const bool readable = exists && !result.broken;
    const int head = (readable ? page : args.shape.page_count) * args.shape.kv_heads +
                     (readable ? item.kv_head : 0);
    result.page_row = head * page_slabs * kSlabRows;
    if (!exists) return result;
    result.rows = min(max(static_cast<int>(entry & 63U) + 1 - in_page * kSlabRows, 0), kSlabRows);
    result.first_pos = position + in_page * kSlabRows;
    result.cls = static_cast<int>(entry >> 6 & 7U);
    return result;
  }

  // Starts the copies of the tile's pages, half a row each, on `bar`.
  __device__ __forceinline__ void copy(const TileSlab& mine, const CUtensorMap* map,
                                       std::uint32_t bar, unsigned char* to) const {
    constexpr int kParts = kDim / 64;
    const int log2_slabs = args.shape.log2_slabs_per_page;
    const int boxes = (kTileSlabs >> log2_slabs) * kParts;
    const int lane = threadIdx.x & 31;
    const int first_slab = (lane / kParts << log2_slabs) & (kTileSlabs - 1);
    const std::int32_t row = __shfl_sync(~0U, mine.page_row, first_slab);
    if (lane >= boxes) return;
    const int part = lane % kParts;
    tensor_load_3d(smem_address(to) + part * kPartBytes + first_slab * kSlabRows * 128, map, bar, 0,
                   row, part, kEvictNormal);
  }
};

// The item in the ring's buffer, once it is there.
template <typename Shared>
__device__ __forceinline__ const PrefillItem& wait_item(Shared& shared,
                                                        const Ring<kItemBuffers>& ring) {
  mbarrier_wait(smem_address(&shared.item_full[ring.at]), ring.parity);
  return shared.items[ring.at];
}

// What the warps that load tiles share: Loader::load_item() is called for each item.
template <int kDim, typename Loader>
struct TileWarp {
  using Shared = PrefillShared<kDim>;
  const PrefillArgs& args;
  const CUtensorMap* map;
  Shared& shared;
  int lane = threadIdx.x & 31;
  Ring<Shared::kTileBuffers> ring = {};

  __device__ __forceinline__ TileWarp(const PrefillArgs& a, const CUtensorMap* m, Shared& s)
      : args(a), map(m), shared(s) {}

  __device__ __forceinline__ void run() {
    Ring<kItemBuffers> items;
    for (;; items.advance()) {
      const PrefillItem& item = wait_item(shared, items);
      if (item.kv_head < 0) return;
      static_cast<Loader*>(this)->load_item(item);
      warp_arrive(shared.item_empty[items.at]);
    }
  }
};

template <int kDim, bool kWindow>
struct KeyWarp : TileWarp<kDim, KeyWarp<kDim, kWindow>> {
  using Base = TileWarp<kDim, KeyWarp<kDim, kWindow>>;
  using Base::args, Base::lane, Base::map, Base::ring, Base::shared;
  using Base::Base;
  using typename Base::Shared;

  // Writes the tile's description.
  __device__ __forceinline__ void describe(TileInfo& info, const TileSlab& slab,
                                           const PrefillItem& item) const {
    const float* bias = anchor_bias(item, slab.anchor_slot);
    const bool full = slab.rows == kSlabRows && slab.first_pos <= item.first_pos - kSlabRows + 1;
    const bool masked = __any_sync(~0U, !full);
    const bool left = kWindow && __any_sync(~0U, slab.first_pos <= item.last_pos - args.window);
    const bool broken = __any_sync(~0U, slab.broken);
    if (broken && lane == 0) atomicOr(&args.plan.header->status, kPlanBadPageId);
    if (lane < kTileSlabs) {
      info.first_pos[lane] = slab.first_pos;
      info.rows[lane] = slab.rows;
      info.classes[lane] =
          static_cast<std::uint8_t>(slab.cls | (slab.anchor_slot < 0 ? 0 : kAnchorClass));
    }
    if (lane == 0) {
      info.flags = (masked ? kTileMasked : 0U) | (bias != nullptr ? kTileBiased : 0U) |
                   (broken ? kTileBroken : 0U) | (left ? kTileLeft : 0U);
    }
    if (bias == nullptr) return;
#pragma unroll
    for (int i = 0; i < kTileSlots / 32; ++i) {
      info.beta[lane + i * 32] = __ldg(bias + lane + i * 32) * args.inv_scale;
    }
  }

  // Where the biases of the anchor's tile are; nullptr if it has none.
  __device__ __forceinline__ const float* anchor_bias(const PrefillItem& item, int slot) const {
    if (args.beta == nullptr || slot < 0) return nullptr;
    const std::size_t head =
        static_cast<std::size_t>(item.of.anchor) * args.shape.kv_heads + item.kv_head;
    return args.beta + head * kMaxAnchorSlots + slot;
  }

  __device__ __forceinline__ void load_item(const PrefillItem& item) {
    TileWalk<kDim> walk(args, item);
    const int count = walk.count();
    walk.fetch();
    for (int tile = 0; tile < count; ++tile) {
      const TileSlab slab = walk.resolve();
      walk.fetch();
      mbarrier_wait(smem_address(&shared.k_empty[ring.at]), ring.parity ^ 1U);
      describe(shared.info[ring.at], slab, item);
      warp_arrive_expect(shared.k_full[ring.at], Shared::kTileBytes);
      walk.copy(slab, map, smem_address(&shared.k_full[ring.at]), shared.k[ring.at]);
      ring.advance();
    }
  }
};

template <int kDim>
struct ValueWarp : TileWarp<kDim, ValueWarp<kDim>> {
  using Base = TileWarp<kDim, ValueWarp<kDim>>;
  using Base::args, Base::lane, Base::map, Base::ring, Base::shared;
  using Base::Base;
  using typename Base::Shared;
  std::uint32_t landed_parity = 0;

  // Zeros where a page has no row: a weight of zero times NaN would be NaN.
  __device__ __forceinline__ void clear(const TileSlab& slab, unsigned char* v) const {
    constexpr int kRowParts = kDim / 8;
    const int part = lane % kRowParts;
    unsigned char* column = v + (part / 8) * kPartBytes + (part & 7) * 16;
    for (int s = 0; s < kTileSlabs; ++s) {
      const int rows = __shfl_sync(~0U, slab.rows, s);
      for (int r = rows + lane / kRowParts; r < kSlabRows; r += 32 / kRowParts) {
        *reinterpret_cast<int4*>(column + (s * kSlabRows + r) * 128) = int4{0, 0, 0, 0};
      }
    }
    fence_async_shared();
  }

  __device__ __forceinline__ void load_item(const PrefillItem& item) {
    TileWalk<kDim> walk(args, item);
    const int count = walk.count();
    walk.fetch();
    for (int tile = 0; tile < count; ++tile) {
      const TileSlab slab = walk.resolve();
      walk.fetch();
      const bool ragged = __any_sync(~0U, slab.exists && slab.rows < kSlabRows);
      std::uint64_t& full = shared.v_full[ring.at];
      std::uint64_t& arrives = ragged ? shared.v_landed : full;
      mbarrier_wait(smem_address(&shared.v_empty[ring.at]), ring.parity ^ 1U);
      warp_arrive_expect(arrives, Shared::kTileBytes);
      walk.copy(slab, map, smem_address(&arrives), shared.v[ring.at]);
      if (ragged) {
        mbarrier_wait(smem_address(&arrives), landed_parity);
        landed_parity ^= 1U;
        clear(slab, shared.v[ring.at]);
        warp_arrive(full);
      }
      ring.advance();
    }
  }
};

}  // namespace fieldprint::cuda
