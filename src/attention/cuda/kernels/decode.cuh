// Decode attention: one query token per sequence over paged KV, with anchor rows as
// work items of the same launch. Persistent CTAs draw items; each item writes partials;
// who delivers a sequence's last one merges them in ascending order (merge.cuh).
//
// Every computing warp has its own ring of slabs in shared memory, filled by the copy
// engine and drained by the same warp, and hands its chunk of a leaf to the delivering
// warp: leaves need no CTA-wide barrier, and warps may be most of an item apart. Bits of
// a partial depend on the rows and the query alone.
#pragma once

#include "attention/cuda/kernels/deliver.cuh"
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
struct DecodeCta {
  using Shared = DecodeShared<kDim, kCols>;
  const DecodeArgs& args;
  const CUtensorMap* k_map;
  const CUtensorMap* v_map;
  Shared& shared;
  int lane = threadIdx.x & 31;
  int warp = threadIdx.x >> 5;
  // The ring: in_flight stages from wait_stage on are loading or loaded.
  int issue_stage = 0;
  int wait_stage = 0;
  std::uint32_t wait_parity = 0;
  int in_flight = 0;
  Work current;
  Work next;
  Agenda agenda;
  bool next_known = false;
  int items = 0;                   // done so far
  QueryFragment<kDim> next_query;  // loaded while the item before is computed
  float next_beta = 0.0F;

  // Tickets: the first two items are fixed, later ones are drawn by warp 0.
  __device__ __forceinline__ int draw_ticket() {
    if (threadIdx.x != 0) return 0;
    return static_cast<int>(atomicAdd(&args.plan.header->ticket, 1U)) +
           2 * static_cast<int>(gridDim.x);
  }
  __device__ __forceinline__ void publish_ticket(int drawn) {
    if (threadIdx.x != 0) return;
    const auto number = static_cast<std::uint64_t>(items + 2);
    volatile std::uint64_t* slot = &shared.tickets[number % kTicketSlots];
    *slot = number << 32 | static_cast<std::uint32_t>(drawn);
  }
  __device__ __forceinline__ void describe_next() {
    next_known = true;
    const int number = items + 1;
    if (number == 1) {
      next.open(args.plan, static_cast<int>(blockIdx.x + gridDim.x));
      return;
    }
    const volatile std::uint64_t* slot = &shared.tickets[number % kTicketSlots];
    std::uint64_t value = *slot;
    while (static_cast<int>(value >> 32) != number) value = *slot;
    next.describe(args.plan, args.shape, agenda, static_cast<int>(value & 0xFFFFFFFFU));
  }

  // What to learn of the next item after the current one's `step`-th slab: spread out, so
  // that each load arrives before it is needed.
  static constexpr int kSteps = 4;
  __device__ __forceinline__ void learn(int step, int drawn) {
    switch (step) {
      case 0:
        publish_ticket(drawn);
        describe_next();
        break;
      case 2:
        next.fetch(args);
        break;
      case 3:
        load_operands(next);
        break;
    }
  }

  __device__ __forceinline__ static void barrier() { named_barrier(1, kComputeThreads); }

  // Waits until the delivering warp has taken the item before this one.
  __device__ __forceinline__ void wait_taken() {
    mbarrier_wait(smem_address(&shared.taken), (items & 1) ^ 1);
  }

  // All of this warp's writes of the current item are done, and the one before is taken.
  __device__ __forceinline__ void deliver() {
    if (threadIdx.x == 0) {
      shared.delivery = Delivery{current.item, current.kind, current.kv_head};
    }
    __syncwarp();
    if (lane == 0) mbarrier_arrive(smem_address(&shared.delivered));
    ++items;
  }

  // The query of this lane's column: of a leaf's sequence, or of the warp's first column
  // group of an anchor item; and the anchor's bias of one row per thread.
  __device__ __forceinline__ void load_operands(const Work& work) {
    if (kMode != DecodeMode::kAttend || work.kind == WorkKind::kNone) return;
    const int4 item = work.arrived_item();
    if (work.kind == WorkKind::kLeaf) {
      const int g = lane >> 2;
      load_query<kDim>(next_query, g < args.shape.group ? query(work, item.x, g) : nullptr);
      return;
    }
    load_column_query(next_query, work, warp * (kColumns / args.shape.group));
    next_beta = 0.0F;
    if (args.beta == nullptr) return;
    const std::size_t head = static_cast<std::size_t>(item.x) * args.shape.kv_heads + work.kv_head;
    next_beta =
        __ldg(args.beta + head * kMaxAnchorSlots + (item.y & 0xFF) * kChunkSlots + threadIdx.x);
  }

  // Anchor items: lanes hold the members; column g belongs to member first + g / group.
  __device__ __forceinline__ void load_column_query(QueryFragment<kDim>& q, const Work& work,
                                                    int first) {
    const ColumnOwner owner(lane >> 2, args.shape.group);
    const int member = first + owner.sequence;
    const bool asks =
        owner.sequence < kColumns / args.shape.group && member < work.arrived_item().w;
    const int sequence = __shfl_sync(~0U, work.member.x, member & 31);
    load_query<kDim>(q, asks ? query(work, sequence, owner.head) : nullptr);
  }

  __device__ __forceinline__ std::uint32_t stage_address(int stage) const {
    return smem_address(shared.slabs[warp][stage]);
  }

  __device__ __forceinline__ void issue(Work& work) {
    const int slab = __ffs(work.unissued) - 1;
    work.unissued &= work.unissued - 1;
    const std::int32_t row = __shfl_sync(~0U, work.row, slab);
    if (lane == 0) {
      const std::uint32_t bar = smem_address(&shared.full[warp][issue_stage]);
      const std::uint32_t dst = stage_address(issue_stage);
      const std::uint64_t policy = work.kind == WorkKind::kLeaf ? kEvictFirst : kEvictLast;
      mbarrier_arrive_expect(bar, 2 * kSlabBytes<kDim>);
      tensor_load_3d(dst, k_map, bar, 0, row, 0, policy);
      tensor_load_3d(dst + kSlabBytes<kDim>, v_map, bar, 0, row, 0, policy);
    }
    issue_stage = issue_stage + 1 == Shared::kStages ? 0 : issue_stage + 1;
    ++in_flight;
  }

  // Loads one more slab: of the current item or, after it, of the next. False if there is
  // none to load now.
  __device__ __forceinline__ bool issue_one() {
    if (current.unissued != 0) {
      issue(current);
      return true;
    }
    if (!next_known) return false;
    next.resolve(args);
    if (next.kind == WorkKind::kNone || next.unissued == 0) return false;
    issue(next);
    return true;
  }

  // Keeps the ring full.
  __device__ __forceinline__ void pump() {
    while (in_flight < Shared::kStages && issue_one()) {
    }
  }

  // Address of the oldest slab not yet waited for, once it has arrived.
  __device__ __forceinline__ std::uint32_t wait_slab() {
    mbarrier_wait(smem_address(&shared.full[warp][wait_stage]), wait_parity);
    const std::uint32_t address = stage_address(wait_stage);
    wait_stage = wait_stage + 1 == Shared::kStages ? 0 : wait_stage + 1;
    if (wait_stage == 0) wait_parity ^= 1U;
    return address;
  }

  // The oldest slab's stage is free again.
  __device__ __forceinline__ void release_slab() {
    __syncwarp();
    --in_flight;
    issue_one();
  }

  __device__ __forceinline__ std::size_t partial_index(int partial) const {
    return static_cast<std::size_t>(partial) * args.shape.kv_heads + current.kv_head;
  }

  __device__ __forceinline__ const void* query(const Work& work, int sequence, int head) const {
    const std::size_t row = static_cast<std::size_t>(sequence) * args.shape.q_heads +
                            work.kv_head * args.shape.group + head;
    return static_cast<const unsigned char*>(args.q) + row * kDim * 2;
  }

  // Writes this warp's chunk of the leaf where the delivering warp finds it.
  __device__ __forceinline__ void share_chunk(const TileState<kDim>& state, const ClassSums& sums) {
    auto& chunk = shared.chunks[warp];
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

  __device__ __forceinline__ void run_leaf() {
    const int drawn = draw_ticket();
    const QueryFragment<kDim> q = next_query;
    TileState<kDim> state;
    state.clear();
    ClassSums& sums = shared.sums[warp];
    clear_class_sums(sums);
    int cls = -1;
    int step = 0;
    for (std::uint32_t left = current.slabs; left != 0; left &= left - 1) {
      const int slab = __ffs(left) - 1;
      const int slab_cls = __shfl_sync(~0U, current.cls, slab);
      const int valid = __shfl_sync(~0U, current.valid, slab);
      const std::uint32_t address = wait_slab();
      if constexpr (kMode == DecodeMode::kAttend) {
        if (slab_cls != cls && cls >= 0) flush_class(state, sums, cls);
        cls = slab_cls;
        add_slab(state, address, q, args.scale_log2, 0.0F, 0.0F, valid);
      }
      learn(step++, drawn);
      release_slab();
    }
    for (; step < kSteps; ++step) learn(step, drawn);
    pump();
    if (cls >= 0) flush_class(state, sums, cls);
    wait_taken();
    if constexpr (kMode == DecodeMode::kAttend) share_chunk(state, sums);
    deliver();
  }

  // Which partial and head a column of an anchor item belongs to.
  struct AnchorColumn {
    bool exists;
    int head;
    std::size_t index;
  };
  __device__ __forceinline__ AnchorColumn anchor_column(int column, int first, int per_group) {
    const ColumnOwner owner(column, args.shape.group);
    const int member = first + owner.sequence;
    const int base = __shfl_sync(~0U, current.member.y, member & 31);
    const bool exists = owner.sequence < per_group && member < current.item.w;
    return {exists, owner.head, partial_index(base + (current.item.y & 0xFF))};
  }

  // Writes the partials of one column group. `first` is the group's first sequence within
  // the item.
  __device__ __forceinline__ void write_anchor(const TileState<kDim>& state, const ClassSums& sums,
                                               int first, int per_group) {
    constexpr int kRows = kDim / 8;
    const int column = lane & 7;
    const AnchorColumn mine[2] = {anchor_column(2 * (lane & 3), first, per_group),
                                  anchor_column(2 * (lane & 3) + 1, first, per_group)};
    const AnchorColumn to_stats = anchor_column(column, first, per_group);
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const AnchorColumn& to = mine[c];
      if (!to.exists) continue;
      float* o = args.plan.partial_o + to.index * kDim * kCols + to.head;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        o[(r * 8 + (lane >> 2)) * kCols] = state.o[r / 2][(r % 2) * 2 + c];
      }
    }
    __syncwarp();
    // Column k's reference exponent is held by lane k / 2.
    const float m_even = __shfl_sync(~0U, state.m[0], column >> 1);
    const float m_odd = __shfl_sync(~0U, state.m[1], column >> 1);
    const float top = (column & 1) != 0 ? m_odd : m_even;
    if (!to_stats.exists) return;
    float* stats = args.plan.partial_stats + to_stats.index * kStatRows * kCols + to_stats.head;
    for (int cls = lane >> 3; cls < kClasses; cls += 4) {
      stats[(1 + cls) * kCols] = sums.l[cls][column] * exp2_fast(sums.m[cls][column] - top);
    }
    if (lane < 8) stats[0] = top;
  }

  // One warp: all rows of the chunk against one group of columns.
  __device__ __forceinline__ void run_anchor_columns(const QueryFragment<kDim>& q, ClassSums& sums,
                                                     int first, int per_group) {
    const int g = lane >> 2;
    TileState<kDim> state;
    state.clear();
    clear_class_sums(sums);
    int cls = -1;
    for (std::uint32_t left = current.slabs; left != 0; left &= left - 1) {
      const int slab = __ffs(left) - 1;
      const int slab_cls = __shfl_sync(~0U, current.cls, slab);
      const int valid = __shfl_sync(~0U, current.valid, slab);
      const float init_low = shared.anchor_beta[slab * kSlabRows + g];
      const float init_high = shared.anchor_beta[slab * kSlabRows + g + 8];
      if (slab_cls != cls && cls >= 0) flush_class(state, sums, cls);
      cls = slab_cls;
      add_slab(state, shared.anchor_slab[slab], q, args.scale_log2, init_low, init_high, valid);
    }
    if (cls >= 0) flush_class(state, sums, cls);
    write_anchor(state, sums, first, per_group);
    __syncwarp();
  }

  // The CTA loads the chunk together; then each warp takes every fourth column group.
  __device__ __forceinline__ void run_anchor() {
    const int drawn = draw_ticket();
    const float beta = next_beta;
    QueryFragment<kDim> q = next_query;
    barrier();  // nobody reads the anchor before this one any more
    shared.anchor_beta[threadIdx.x] = beta * args.inv_scale;
    int loaded = 0;
    for (std::uint32_t own = current.slabs & (3U << (warp * 2)); own != 0; own &= own - 1) {
      const std::uint32_t address = wait_slab();
      if (lane == 0) shared.anchor_slab[__ffs(own) - 1] = address;
      ++loaded;
    }
    barrier();
    for (int step = 0; step < kSteps; ++step) learn(step, drawn);
    const int per_group = kColumns / args.shape.group;
    for (int first = warp * per_group; first < current.item.w; first += kWarps * per_group) {
      if (first >= kWarps * per_group) load_column_query(q, current, first);
      run_anchor_columns(q, shared.sums[warp], first, per_group);
    }
    barrier();  // all warps have read the slabs
    __syncwarp();
    in_flight -= loaded;
    pump();
    wait_taken();
    deliver();
  }

  __device__ __forceinline__ void run() {
    current.open(args.plan, static_cast<int>(blockIdx.x));
    agenda = Agenda(*args.plan.header, args.shape.kv_heads);
    current.resolve(args);
    pump();
    load_operands(current);
    while (current.kind != WorkKind::kNone) {
      if (kMode == DecodeMode::kReadOnly || current.kind == WorkKind::kLeaf) {
        run_leaf();
      } else {
        run_anchor();
      }
      current = next;
      current.resolve(args);
      next_known = false;
      pump();
    }
    wait_taken();
    deliver();  // of kind kNone: the delivering warp may leave
    retire();
  }

  // The last CTA to finish makes the plan ready for the next launch.
  __device__ __forceinline__ void retire() {
    if (threadIdx.x != 0) return;
    if (atomicAdd(&args.plan.header->finished, 1U) + 1 == gridDim.x) {
      args.plan.header->ticket = 0;
      args.plan.header->finished = 0;
    }
  }
};

template <int kDim, int kCols, DecodeMode kMode>
__global__ void __launch_bounds__(kDecodeThreads, 2)
    decode_kernel(const __grid_constant__ CUtensorMap k_map,
                  const __grid_constant__ CUtensorMap v_map,
                  const __grid_constant__ DecodeArgs args) {
  extern __shared__ unsigned char raw[];
  auto& shared = *reinterpret_cast<DecodeShared<kDim, kCols>*>(raw);
  if (threadIdx.x == 0) {
    prefetch_map(&k_map);
    prefetch_map(&v_map);
    mbarrier_init(smem_address(&shared.delivered), kWarps);
    mbarrier_init(smem_address(&shared.taken), 1);
  }
  if (threadIdx.x < kWarps * DecodeShared<kDim, kCols>::kStages) {
    mbarrier_init(smem_address(&shared.full[0][0] + threadIdx.x), 1);
  }
  if (threadIdx.x < kTicketSlots) shared.tickets[threadIdx.x] = 0;
  fence_mbarrier_init();
  __syncthreads();
  if (threadIdx.x >= kComputeThreads) {
    DeliveringWarp<kDim, kCols>{args, shared}.run(kMode);
    return;
  }
  DecodeCta<kDim, kCols, kMode> cta{args, &k_map, &v_map, shared};
  cta.run();
}

}  // namespace fieldprint::cuda
