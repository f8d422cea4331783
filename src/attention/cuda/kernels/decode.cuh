// Decode attention: one query token per sequence over paged KV, with anchor rows as
// work items of the same launch. Persistent CTAs draw items; each item writes partials,
// which merge.cuh merges in ascending order.
//
// Every computing warp has its own ring of slabs in shared memory, filled by the copy
// engine and drained by the same warp, and hands its chunk of a leaf to the delivering
// warp: leaves need no CTA-wide barrier, and warps may be most of an item apart. Bits of
// a partial depend on the rows and the query alone.
#pragma once

#include "attention/cuda/kernels/deliver.cuh"
#include "attention/cuda/kernels/load.cuh"
#include "attention/cuda/kernels/tile.cuh"
#include "attention/cuda/kernels/work.cuh"

namespace fieldprint::cuda {

// Which sequence of an anchor item's column group a column belongs to, and which head.
struct ColumnOwner {
  int sequence;
  int head;
  __device__ __forceinline__ ColumnOwner(int column, int group)
      : sequence(column / group), head(column % group) {}
};

template <int kDim, int kCols, DecodeMode kMode>
struct ComputingWarp {
  using Shared = DecodeShared<kDim, kCols>;
  using Slot = ItemSlot<kDim, kCols>;
  using Full = TileState<kDim / 16>;
  const DecodeArgs& args;
  Shared& shared;
  int lane = threadIdx.x & 31;
  int warp = threadIdx.x >> 5;
  int stage = 0;  // the oldest slab not yet waited for
  std::uint32_t parity = 0;
  int items = 0;  // done so far
  // The current item.
  int4 item;
  int kv_head = 0;

  __device__ __forceinline__ static void barrier() { named_barrier(1, kComputeThreads); }

  __device__ __forceinline__ int chunk_slot() const { return items % Shared::kChunkSlots; }

  // Waits until the delivering warp has taken the item that used this one's place.
  __device__ __forceinline__ void wait_taken() {
    mbarrier_wait(smem_address(&shared.taken[chunk_slot()]), (items / Shared::kChunkSlots & 1) ^ 1);
  }

  // All of this warp's writes of the current item are done, after wait_taken().
  __device__ __forceinline__ void deliver(WorkKind kind) {
    if (threadIdx.x == 0) shared.delivery[chunk_slot()] = Delivery{item, kind, kv_head};
    mbarrier_arrive(smem_address(&shared.delivered[chunk_slot()]));
  }

  // Stage of the oldest slab not yet waited for, once it has arrived.
  __device__ __forceinline__ int wait_slab() {
    const int arrived = stage;
    mbarrier_wait(smem_address(&shared.full[warp][stage]), parity);
    ++stage;
    if (stage == Shared::kStages) {
      stage = 0;
      parity ^= 1U;
    }
    return arrived;
  }

  // The warp has read the slab; the loading warp may overwrite it.
  __device__ __forceinline__ void release_slab(int from) {
    __syncwarp();
    if (lane == 0) mbarrier_arrive(smem_address(&shared.empty[warp][from]));
  }

  __device__ __forceinline__ std::size_t partial_index(int partial) const {
    return static_cast<std::size_t>(partial) * args.shape.kv_heads + kv_head;
  }

  // The leaf's query from the slot: column g, zeros beyond the group.
  __device__ __forceinline__ void read_query(QueryFragment<kDim>& q, const Slot& slot) const {
    const int g = lane >> 2;
    const auto* words = reinterpret_cast<const std::uint32_t*>(slot.query + (g < kCols ? g : 0) *
                                                                                slot.kQueryStride);
    const bool exists = g < kCols;
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
      q.word[k][0] = exists ? words[k * 8 + (lane & 3)] : 0U;
      q.word[k][1] = exists ? words[k * 8 + (lane & 3) + 4] : 0U;
    }
  }

  // Chunk items: how many sequences they serve, and which chunk of their leaf they are.
  bool one_sequence = false;  // kChunk: only itself
  __device__ __forceinline__ int members() const { return one_sequence ? 1 : item.w; }
  __device__ __forceinline__ int chunk() const { return one_sequence ? 0 : item.y & 0xFF; }

  // Column g belongs to member first + g / group.
  __device__ __forceinline__ void load_column_query(QueryFragment<kDim>& q, const Slot& slot,
                                                    int first) const {
    const ColumnOwner owner(lane >> 2, args.shape.group);
    const int member = first + owner.sequence;
    const bool asks = owner.sequence < kColumns / args.shape.group && member < members();
    const std::size_t row =
        static_cast<std::size_t>(slot.rows.chunk.member[member & 31].x & kSequenceMask) *
            args.shape.q_heads +
        kv_head * args.shape.group + owner.head;
    load_query<kDim>(q,
                     asks ? static_cast<const unsigned char*>(args.q) + row * kDim * 2 : nullptr);
  }

  // Writes this warp's chunk of the leaf where the delivering warp finds it.
  __device__ __forceinline__ void share_chunk(const Full& state, const ClassSums& sums) {
    auto& chunk = shared.found.chunks[chunk_slot()][warp];
    const int g = lane >> 2;
    const int t = lane & 3;
    if (2 * t < kCols) {
#pragma unroll
      for (int r = 0; r < kDim / 8; ++r) {
        *reinterpret_cast<float2*>(&chunk.o[r * 8 + g][2 * t]) =
            float2{state.o[r / 2][r % 2 * 2], state.o[r / 2][r % 2 * 2 + 1]};
      }
      if (g == 0) {
        chunk.m[2 * t] = state.m[0];
        chunk.m[2 * t + 1] = state.m[1];
      }
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kClasses * kCols / 32; ++i) {
      const int cls = (lane + i * 32) / kCols;
      const int column = lane % kCols;
      chunk.l[cls][column] = sums.l[cls][column] * exp2_fast(sums.m[cls][column] - chunk.m[column]);
    }
  }

  __device__ __forceinline__ void run_leaf(const Slot& slot) {
    QueryFragment<kDim> q;
    if constexpr (kMode == DecodeMode::kAttend) read_query(q, slot);
    const std::uint64_t slabs = reinterpret_cast<const std::uint64_t*>(slot.slab)[warp];
    const bool biased = slot.biased;
    if (!biased) release_item();
    Full state;
    state.clear();
    ClassSums& sums = shared.sums[warp];
    clear_class_sums(sums);
    int cls = -1;
    const float* beta = slot.rows.beta + warp * kChunkSlots + (lane >> 2);
    int hidden = (item.z >> 16) - warp * kChunkSlots;  // rows from this slab on
    for (std::uint64_t left = slabs; left != 0;
         left >>= 8, hidden -= kSlabRows, beta += kSlabRows) {
      const int valid = static_cast<int>(left & 31U);
      if (valid == 0) continue;  // a gap after a partially filled page
      const int slab_cls = static_cast<int>(left >> 5 & 7U);
      const int from = wait_slab();
      if constexpr (kMode == DecodeMode::kAttend) {
        if (slab_cls != cls && cls >= 0) flush_class(state, sums, cls);
        cls = slab_cls;
        const std::uint32_t slab = smem_address(shared.slabs[warp][from]);
        float scores[4];
        visible_scores(scores, slab, q, args.scale_log2, biased ? beta[0] : 0.0F,
                       biased ? beta[8] : 0.0F, valid, {hidden, hidden});
        add_scores(state, scores, slab + kSlabBytes<kDim>, 0, valid);
      }
      release_slab(from);
    }
    if (cls >= 0) flush_class(state, sums, cls);
    if (biased) release_item();
    wait_taken();
    if constexpr (kMode == DecodeMode::kAttend) share_chunk(state, sums);
    deliver(WorkKind::kLeaf);
  }

  // The warp needs the item's slot no more.
  __device__ __forceinline__ void release_item() {
    mbarrier_arrive(smem_address(&shared.item_empty[items % kItemSlots]));
  }

  // Which partial and head a column of a chunk item belongs to.
  struct AnchorColumn {
    bool exists;
    int head;
    std::size_t index;
    int hidden;  // rows of the chunk before the column's window
  };
  __device__ __forceinline__ AnchorColumn anchor_column(const Slot& slot, int column, int first,
                                                        int per_group) const {
    const ColumnOwner owner(column, args.shape.group);
    const int member = first + owner.sequence;
    const bool exists = owner.sequence < per_group && member < members();
    const int2 of = slot.rows.chunk.member[member & 31];
    return {exists, owner.head, partial_index(of.y + chunk()),
            (of.x >> 16) - chunk() * kChunkSlots};
  }

  // Writes outputs of one column group, tiles `first_tile` of head_dim on.
  template <int kTiles>
  __device__ __forceinline__ void write_outputs(const TileState<kTiles>& state, int first_tile,
                                                const AnchorColumn (&mine)[2]) const {
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const AnchorColumn& to = mine[c];
      if (!to.exists) continue;
      float* o = args.plan.partial_o + to.index * kDim * kCols + to.head;
#pragma unroll
      for (int r = 0; r < 2 * kTiles; ++r) {
        o[((first_tile * 2 + r) * 8 + (lane >> 2)) * kCols] = state.o[r / 2][(r % 2) * 2 + c];
      }
    }
  }

  // Writes the statistics of one column group; m: the reference exponents of this thread's
  // columns, `of` speaks of column lane % 8.
  __device__ __forceinline__ void write_statistics(const float (&m)[2], const ClassSums& sums,
                                                   const AnchorColumn& of) const {
    const int column = lane & 7;
    __syncwarp();
    // Column k's reference exponent is held by lane k / 2.
    const float m_even = __shfl_sync(~0U, m[0], column >> 1);
    const float m_odd = __shfl_sync(~0U, m[1], column >> 1);
    const float top = (column & 1) != 0 ? m_odd : m_even;
    if (!of.exists) return;
    float* stats = args.plan.partial_stats + of.index * kStatRows * kCols + of.head;
    for (int cls = lane >> 3; cls < kClasses; cls += 4) {
      stats[(1 + cls) * kCols] = sums.l[cls][column] * exp2_fast(sums.m[cls][column] - top);
    }
    if (lane < 8) stats[0] = top;
  }

  // Scores of one of the chunk's slabs; hidden: rows of the chunk before each column's window.
  __device__ __forceinline__ void chunk_scores(float (&s)[4], const Slot& slot, int slab,
                                               std::uint32_t address, const QueryFragment<kDim>& q,
                                               const AnchorColumn (&mine)[2]) const {
    const float* beta = slot.rows.chunk.beta + slab * kSlabRows + (lane >> 2);
    visible_scores(s, address, q, args.scale_log2, beta[0], beta[8], slot.slab[slab] & 31,
                   {mine[0].hidden - slab * kSlabRows, mine[1].hidden - slab * kSlabRows});
  }

  // One warp: all rows of the chunk against one group of columns.
  __device__ __forceinline__ void run_columns(const Slot& slot, int first, int per_group) {
    QueryFragment<kDim> q;
    load_column_query(q, slot, first);
    const AnchorColumn mine[2] = {anchor_column(slot, 2 * (lane & 3), first, per_group),
                                  anchor_column(slot, 2 * (lane & 3) + 1, first, per_group)};
    Full state;
    state.clear();
    ClassSums& sums = shared.sums[warp];
    clear_class_sums(sums);
    int cls = -1;
    for (int slab = 0; slab < kChunkSlabs; ++slab) {
      const int meta = slot.slab[slab];
      if (meta == 0) continue;
      if (meta >> 5 != cls && cls >= 0) flush_class(state, sums, cls);
      cls = meta >> 5;
      const std::uint32_t address = shared.anchor_slab[slab];
      float scores[4];
      chunk_scores(scores, slot, slab, address, q, mine);
      add_scores(state, scores, address + kSlabBytes<kDim>, 0, meta & 31);
    }
    if (cls >= 0) flush_class(state, sums, cls);
    write_outputs(state, 0, mine);
    write_statistics(state.m, sums, anchor_column(slot, lane & 7, first, per_group));
    __syncwarp();
  }

  // All warps, one group of columns: each scores two slabs, then all weigh all of them alike
  // and multiply V's rows with a quarter of head_dim each. The same operations as above.
  __device__ __forceinline__ void run_columns_together(const Slot& slot, int (&from)[2]) {
    constexpr int kTiles = kDim / 16 / kWarps;
    const int per_group = kColumns / args.shape.group;
    QueryFragment<kDim> q;
    load_column_query(q, slot, 0);
    const AnchorColumn mine[2] = {anchor_column(slot, 2 * (lane & 3), 0, per_group),
                                  anchor_column(slot, 2 * (lane & 3) + 1, 0, per_group)};
    wait_taken();  // the scores' place may still hold a leaf
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int slab = warp * 2 + i;
      if (slot.slab[slab] == 0) continue;
      from[i] = wait_slab();
      const std::uint32_t address = smem_address(shared.slabs[warp][from[i]]);
      if (lane == 0) shared.anchor_slab[slab] = address;
      float scores[4];
      chunk_scores(scores, slot, slab, address, q, mine);
      shared.found.scores[slab][lane] = float4{scores[0], scores[1], scores[2], scores[3]};
    }
    TileState<kTiles> state;
    state.clear();
    ClassSums& sums = shared.sums[warp];
    clear_class_sums(sums);
    barrier();
    int cls = -1;
#pragma unroll 2
    for (int slab = 0; slab < kChunkSlabs; ++slab) {
      const int meta = slot.slab[slab];
      if (meta == 0) continue;
      if (meta >> 5 != cls && cls >= 0) flush_class(state, sums, cls);
      cls = meta >> 5;
      const float4 found = shared.found.scores[slab][lane];
      add_scores(state, {found.x, found.y, found.z, found.w},
                 shared.anchor_slab[slab] + kSlabBytes<kDim>, warp * kTiles, meta & 31);
    }
    if (cls >= 0) flush_class(state, sums, cls);
    write_outputs(state, warp * kTiles, mine);
    if (warp == 0) write_statistics(state.m, sums, anchor_column(slot, lane & 7, 0, per_group));
  }

  // Two of the chunk's slabs lie in each warp's ring; each warp takes every fourth group of
  // columns.
  __device__ __forceinline__ void run_columns_apart(const Slot& slot, int (&from)[2]) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (slot.slab[warp * 2 + i] == 0) continue;
      from[i] = wait_slab();
      if (lane == 0) shared.anchor_slab[warp * 2 + i] = smem_address(shared.slabs[warp][from[i]]);
    }
    barrier();
    const int per_group = kColumns / args.shape.group;
    const int sequences = kMode == DecodeMode::kAttend ? members() : 0;
    for (int first = warp * per_group; first < sequences; first += kWarps * per_group) {
      run_columns(slot, first, per_group);
    }
  }

  // A chunk item.
  __device__ __forceinline__ void run_chunk(const Slot& slot) {
    int from[2] = {-1, -1};
    barrier();  // nobody reads the chunk before this one any more
    if (kMode == DecodeMode::kAttend && members() <= kColumns / args.shape.group) {
      run_columns_together(slot, from);
    } else {
      run_columns_apart(slot, from);
    }
    barrier();  // all warps have read the slabs
    if (from[0] >= 0) release_slab(from[0]);
    if (from[1] >= 0) release_slab(from[1]);
    release_item();
    wait_taken();
    deliver(WorkKind::kAnchor);
  }

  __device__ __forceinline__ void run() {
    for (;; ++items) {
      const int index = items % kItemSlots;
      const Slot& slot = shared.items[index];
      mbarrier_wait(smem_address(&shared.item_full[index]), items / kItemSlots & 1);
      const WorkKind kind = slot.kind;
      item = slot.item;
      kv_head = slot.kv_head;
      if (kind == WorkKind::kNone) break;
      one_sequence = kind == WorkKind::kChunk;
      if (kind == WorkKind::kLeaf) {
        run_leaf(slot);
      } else {
        run_chunk(slot);
      }
    }
    wait_taken();
    deliver(WorkKind::kNone);  // the delivering warp may leave
  }
};

template <int kDim, int kCols, DecodeMode kMode>
__global__ void __launch_bounds__(kDecodeThreads, kDecodeCtas<kDim>)
    decode_kernel(const __grid_constant__ CUtensorMap k_map,
                  const __grid_constant__ CUtensorMap v_map,
                  const __grid_constant__ DecodeArgs args) {
  extern __shared__ unsigned char raw[];
  auto& shared = *reinterpret_cast<DecodeShared<kDim, kCols>*>(raw);
  if (threadIdx.x == 0) {
    prefetch_map(&k_map);
    prefetch_map(&v_map);
  }
  if (threadIdx.x >= kComputeThreads + 32) {
    wait_for_previous_kernel();
    // The merge kernel may take its place early; it waits for this grid's results.
    launch_dependents();
    LoadingWarp<kDim, kCols, kMode>{args, &k_map, &v_map, shared}.run();  // joins the barrier
    return;
  }
  shared.initialise(static_cast<int>(threadIdx.x));
  wait_for_previous_kernel();
  __syncthreads();
  if (threadIdx.x < kComputeThreads) {
    ComputingWarp<kDim, kCols, kMode>{args, shared}.run();
  } else {
    DeliveringWarp<kDim, kCols>{args, shared}.run(kMode);
  }
}

}  // namespace fieldprint::cuda
