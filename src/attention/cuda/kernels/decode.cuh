// Decode attention: one query token per sequence over paged KV, with anchor rows as
// work items of the same launch. Persistent CTAs draw items; each item writes one
// partial; combine.cuh merges partials in ascending order.
//
// Every warp has its own ring of slabs in shared memory, filled by the copy engine and
// drained by the same warp, so the main loop needs no CTA-wide barrier. Bits of a
// partial depend on the rows and the query alone.
#pragma once

#include "attention/cuda/kernels/tile.cuh"
#include "attention/cuda/kernels/work.cuh"

namespace fieldprint::cuda {

enum class DecodeMode { kAttend, kReadOnly };  // kReadOnly: loads and nothing else

inline constexpr int kDecodeThreads = kWarps * 32;

template <int kDim>
struct DecodeShared {
  static constexpr int kStages = 384 / kDim;  // per warp; 96 KiB in flight per CTA
  alignas(1024) unsigned char slabs[kWarps][kStages][2 * kSlabBytes<kDim>];
  float merge_o[kWarps - 1][kDim][kColumns];
  ClassSums sums[2][kWarps];  // two, because warp 0 reads one while others fill the next
  float merge_m[kWarps][kColumns];
  std::uint64_t full[kWarps][kStages];
  std::uint32_t anchor_slab[kChunkSlabs];
  int ticket[2];
};

// Which sequence of an anchor item's column group a column belongs to, and which head.
struct ColumnOwner {
  int sequence;
  int head;
  __device__ __forceinline__ ColumnOwner(int column, int group)
      : sequence(column / group), head(column % group) {}
};

template <int kDim, DecodeMode kMode>
struct DecodeCta {
  using Shared = DecodeShared<kDim>;
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
  int drawn = 0;  // thread 0: the ticket after next

  // Before an item's first barrier; late, so that the atomic's latency stays hidden.
  __device__ __forceinline__ void publish_ticket(int parity) {
    if (threadIdx.x == 0) shared.ticket[parity] = drawn;
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
#pragma unroll
      for (int half = 0; half < kDim / 64; ++half) {
        tensor_load_2d(dst + half * kHalfBytes, k_map, bar, half * 64, row, policy);
      }
#pragma unroll
      for (int half = 0; half < kDim / 64; ++half) {
        tensor_load_2d(dst + kSlabBytes<kDim> + half * kHalfBytes, v_map, bar, half * 64, row,
                       policy);
      }
    }
    issue_stage = issue_stage + 1 == Shared::kStages ? 0 : issue_stage + 1;
    ++in_flight;
  }

  // Keeps the ring full: the current item's slabs first, then the next item's.
  __device__ __forceinline__ void pump() {
    while (in_flight < Shared::kStages) {
      if (current.unissued != 0) {
        issue(current);
        continue;
      }
      next.resolve(args);
      if (next.kind == WorkKind::kNone || next.unissued == 0) return;
      issue(next);
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

  __device__ __forceinline__ void release(int slabs) {
    __syncwarp();
    in_flight -= slabs;
    pump();
  }

  __device__ __forceinline__ std::size_t partial_index(int partial) const {
    return static_cast<std::size_t>(partial) * args.shape.kv_heads + current.kv_head;
  }

  __device__ __forceinline__ const void* query(int sequence, int head) const {
    const std::size_t row = static_cast<std::size_t>(sequence) * args.shape.q_heads +
                            current.kv_head * args.shape.group + head;
    return static_cast<const unsigned char*>(args.q) + row * kDim * 2;
  }

  // Warp 0: merges the four chunks of a leaf, in order, and writes the partial.
  __device__ __forceinline__ void write_leaf(const TileState<kDim>& state,
                                             const ClassSums (&sums)[kWarps]) {
    const int g = lane >> 2;
    const int t = lane & 3;
    const int columns = args.shape.columns;
    const std::size_t index = partial_index(current.item.w);
    float factor[kWarps][2];
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      float top = state.m[c];
      for (int w = 1; w < kWarps; ++w) top = fmaxf(top, shared.merge_m[w][2 * t + c]);
      for (int w = 0; w < kWarps; ++w) {
        factor[w][c] = exp2_fast(shared.merge_m[w][2 * t + c] - top);
      }
    }
    float* o = args.plan.partial_o + index * kDim * columns + 2 * t;
#pragma unroll
    for (int r = 0; r < kDim / 8; ++r) {
      const int d = r * 8 + g;
      float2 sum = {state.o[r / 2][(r % 2) * 2] * factor[0][0],
                    state.o[r / 2][(r % 2) * 2 + 1] * factor[0][1]};
#pragma unroll
      for (int w = 1; w < kWarps; ++w) {
        const float2 other =
            *reinterpret_cast<const float2*>(&shared.merge_o[w - 1][d][2 * t]);
        sum.x += other.x * factor[w][0];
        sum.y += other.y * factor[w][1];
      }
      if (2 * t < columns) *reinterpret_cast<float2*>(o + d * columns) = sum;
    }
    const int column = lane & 7;
    float top = shared.merge_m[0][column];
    for (int w = 1; w < kWarps; ++w) top = fmaxf(top, shared.merge_m[w][column]);
    if (column >= columns) return;
    for (int cls = lane >> 3; cls < kClasses; cls += 4) {
      float l = 0.0F;
      for (int w = 0; w < kWarps; ++w) {
        l += sums[w].l[cls][column] * exp2_fast(sums[w].m[cls][column] - top);
      }
      args.plan.partial_l[(index * columns + column) * kClasses + cls] = l;
    }
    if (lane < 8) args.plan.partial_m[index * columns + column] = top;
  }

  __device__ __forceinline__ void run_leaf(int parity) {
    QueryFragment<kDim> q;
    const int g = lane >> 2;
    if constexpr (kMode == DecodeMode::kAttend) {
      load_query<kDim>(q, g < args.shape.group ? query(current.item.x, g) : nullptr);
    }
    TileState<kDim> state;
    state.clear();
    ClassSums& sums = shared.sums[parity][warp];
    clear_class_sums(sums);
    int cls = -1;
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
      next.fetch(args);
      release(1);
    }
    if (cls >= 0) flush_class(state, sums, cls);
    publish_ticket(parity);
    __syncthreads();  // warp 0 is done with the item before
    if constexpr (kMode == DecodeMode::kReadOnly) return;
    if (warp > 0) {
#pragma unroll
      for (int r = 0; r < kDim / 8; ++r) {
        *reinterpret_cast<float2*>(&shared.merge_o[warp - 1][r * 8 + g][2 * (lane & 3)]) =
            float2{state.o[r / 2][(r % 2) * 2], state.o[r / 2][(r % 2) * 2 + 1]};
      }
    }
    if (lane < 4) {
      shared.merge_m[warp][2 * lane] = state.m[0];
      shared.merge_m[warp][2 * lane + 1] = state.m[1];
    }
    __syncthreads();
    if (warp == 0) write_leaf(state, shared.sums[parity]);
  }

  // Writes the partials of the columns of one group. `first` is the group's first
  // sequence within the item.
  __device__ __forceinline__ void write_anchor(const TileState<kDim>& state,
                                               const ClassSums& sums, int first, int per_group) {
    const int columns = args.shape.columns;
    const int chunk = current.item.y & 0xFF;
    const auto locate = [&](int column, std::size_t& index, int& head) {
      const ColumnOwner owner(column, args.shape.group);
      head = owner.head;
      const int sequence = first + owner.sequence;
      if (owner.sequence >= per_group || sequence >= current.item.w) return false;
      const int id = args.plan.sorted_sequences[current.item.z + sequence];
      index = partial_index(args.plan.partial_base[id] + chunk);
      return true;
    };
    std::size_t index;
    int head;
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      if (!locate(2 * (lane & 3) + c, index, head)) continue;
      float* o = args.plan.partial_o + index * kDim * columns + head;
#pragma unroll
      for (int r = 0; r < kDim / 8; ++r) {
        o[(r * 8 + (lane >> 2)) * columns] = state.o[r / 2][(r % 2) * 2 + c];
      }
      if (lane < 4) args.plan.partial_m[index * columns + head] = state.m[c];
    }
    // Column k's reference exponent is held by lane k / 2.
    const int column = lane & 7;
    const float m_even = __shfl_sync(~0U, state.m[0], column >> 1);
    const float m_odd = __shfl_sync(~0U, state.m[1], column >> 1);
    const float top = (column & 1) != 0 ? m_odd : m_even;
    if (!locate(column, index, head)) return;
    for (int cls = lane >> 3; cls < kClasses; cls += 4) {
      args.plan.partial_l[(index * columns + head) * kClasses + cls] =
          sums.l[cls][column] * exp2_fast(sums.m[cls][column] - top);
    }
  }

  // One warp: all rows of the chunk against one group of columns.
  __device__ __forceinline__ void run_anchor_columns(ClassSums& sums, int first, int per_group) {
    const int g = lane >> 2;
    const ColumnOwner owner(g, args.shape.group);
    const int sequence = first + owner.sequence;
    QueryFragment<kDim> q;
    const bool mine = owner.sequence < per_group && sequence < current.item.w;
    load_query<kDim>(
        q, mine ? query(args.plan.sorted_sequences[current.item.z + sequence], owner.head)
                : nullptr);
    TileState<kDim> state;
    state.clear();
    clear_class_sums(sums);
    const std::size_t beta_row =
        (static_cast<std::size_t>(current.item.x) * args.shape.kv_heads + current.kv_head) *
            kMaxAnchorSlots +
        (current.item.y & 0xFF) * kChunkSlots + g;
    int cls = -1;
    for (std::uint32_t left = current.slabs; left != 0; left &= left - 1) {
      const int slab = __ffs(left) - 1;
      const int slab_cls = __shfl_sync(~0U, current.cls, slab);
      const int valid = __shfl_sync(~0U, current.valid, slab);
      float init_low = 0.0F;
      float init_high = 0.0F;
      if (args.beta != nullptr) {
        init_low = __ldg(args.beta + beta_row + slab * kSlabRows) * args.inv_scale;
        init_high = __ldg(args.beta + beta_row + slab * kSlabRows + 8) * args.inv_scale;
      }
      if (slab_cls != cls && cls >= 0) flush_class(state, sums, cls);
      cls = slab_cls;
      add_slab(state, shared.anchor_slab[slab], q, args.scale_log2, init_low, init_high, valid);
    }
    if (cls >= 0) flush_class(state, sums, cls);
    write_anchor(state, sums, first, per_group);
    __syncwarp();
  }

  // The CTA loads the chunk together; then each warp takes every fourth column group.
  __device__ __forceinline__ void run_anchor(int parity) {
    int loaded = 0;
    for (std::uint32_t own = current.slabs & (3U << (warp * 2)); own != 0; own &= own - 1) {
      const std::uint32_t address = wait_slab();
      if (lane == 0) shared.anchor_slab[__ffs(own) - 1] = address;
      ++loaded;
    }
    next.fetch(args);
    publish_ticket(parity);
    __syncthreads();
    const int per_group = kColumns / args.shape.group;
    for (int first = warp * per_group; first < current.item.w; first += kWarps * per_group) {
      run_anchor_columns(shared.sums[parity][warp], first, per_group);
    }
    __syncthreads();
    release(loaded);
  }

  __device__ __forceinline__ void run() {
    const Agenda agenda(*args.plan.header, args.shape.kv_heads);
    const int grid = static_cast<int>(gridDim.x);
    current.describe(args, agenda, static_cast<int>(blockIdx.x));
    next.describe(args, agenda, static_cast<int>(blockIdx.x) + grid);
    current.resolve(args);
    pump();
    for (int parity = 0; current.kind != WorkKind::kNone; parity ^= 1) {
      if (threadIdx.x == 0 && next.kind != WorkKind::kNone) {
        drawn = static_cast<int>(atomicAdd(&args.plan.header->ticket, 1U)) + 2 * grid;
      }
      if (current.kind == WorkKind::kLeaf) {
        run_leaf(parity);
      } else if constexpr (kMode == DecodeMode::kAttend) {
        run_anchor(parity);
      }
      current = next;
      current.resolve(args);
      if (current.kind == WorkKind::kNone) break;
      next.describe(args, agenda, shared.ticket[parity]);
      pump();
    }
    retire();
  }

  // The last CTA to finish makes the plan ready for the next launch.
  __device__ __forceinline__ void retire() {
    if (threadIdx.x != 0) return;
    __threadfence();
    if (atomicAdd(&args.plan.header->finished, 1U) + 1 == gridDim.x) {
      args.plan.header->ticket = 0;
      args.plan.header->finished = 0;
    }
  }
};

template <int kDim, DecodeMode kMode>
__global__ void __launch_bounds__(kDecodeThreads, 2)
    decode_kernel(const __grid_constant__ CUtensorMap k_map,
                  const __grid_constant__ CUtensorMap v_map, const DecodeArgs args) {
  extern __shared__ unsigned char raw[];
  auto& shared = *reinterpret_cast<DecodeShared<kDim>*>(raw);
  if (threadIdx.x < kWarps * DecodeShared<kDim>::kStages) {
    mbarrier_init(smem_address(&shared.full[0][0] + threadIdx.x), 1);
  }
  fence_mbarrier_init();
  __syncthreads();
  DecodeCta<kDim, kMode> cta{args, &k_map, &v_map, shared};
  cta.run();
  launch_dependents();
}

}  // namespace fieldprint::cuda
