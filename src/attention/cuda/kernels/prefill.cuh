// Prefill attention: many queries per sequence over paged KV, causal by position, with the
// anchor's rows in the same launch. One warpgroup loads, two compute, 64 packed rows each.
//
// A computing warpgroup starts the multiplies of the next tile's scores and of the last tile's
// weights together and weighs the scores while the latter run; one warpgroup's softmax runs
// under the other's multiplies.
// In joint mode one softmax takes the anchor's tiles where they come. Otherwise the anchor is a
// softmax of its own: its output waits in global memory until the context is done, when both are
// weighed (weights.cuh) as in decode.
#pragma once

#include <cuda_bf16.h>

#include "attention/cuda/kernels/prefill_load.cuh"
#include "attention/cuda/kernels/prefill_output.cuh"
#include "attention/cuda/kernels/prefill_softmax.cuh"

namespace fieldprint::cuda {

template <int kDim, bool kWindow>
struct ComputingGroup {
  using Shared = PrefillShared<kDim>;
  using Of = PrefillShape<kDim>;
  using Outputs = float[Of::kColumns / 2];
  const PrefillArgs& args;
  Shared& shared;
  int group = static_cast<int>(threadIdx.x) / kWarpgroup - 1;
  int thread = static_cast<int>(threadIdx.x) % kWarpgroup;
  int lane = threadIdx.x & 31;
  Ring<Shared::kTileBuffers> k_ring = {};  // of V comes the tile before: v_place()

  // The first of the item's rows, and of the outputs' columns, that this warpgroup takes.
  __device__ __forceinline__ int group_row() const { return Of::kHalves ? 0 : group * 64; }
  __device__ __forceinline__ int group_column() const {
    return Of::kHalves ? group * Of::kColumns : 0;
  }

  // The first of this thread's rows within the warpgroup's 64.
  __device__ __forceinline__ int first_row() const { return thread / 32 * 16 + (lane >> 2); }

  // The warpgroups take turns at starting multiplies where those are short: at head_dim 64 it
  // saves 14 %, at 128 it costs 2 to 4. Barrier 3 + g lets warpgroup g start.
  static constexpr bool kTurns = kDim == 64;
  __device__ __forceinline__ void wait_turn() const {
    if (kTurns) named_barrier(3 + group, kPrefillComputeThreads);
  }
  __device__ __forceinline__ void pass_turn() const {
    if (kTurns) named_barrier_arrive(4 - group, kPrefillComputeThreads);
  }

  __device__ __forceinline__ Ring<Shared::kTileBuffers> v_place() const {
    return k_ring.previous();
  }
  __device__ __forceinline__ std::uint32_t k_descriptor() const {
    return tile_descriptor(smem_address(shared.k[k_ring.at]), kPartBytes);
  }
  __device__ __forceinline__ std::uint32_t v_descriptor() const {
    return tile_descriptor(smem_address(shared.v[v_place().at]) + group_column() / 64 * kPartBytes,
                           kPartBytes);
  }

  // Starts scores = Q K^T.
  __device__ __forceinline__ void start_scores(float (&s)[kScores], std::uint32_t q,
                                               std::uint32_t k) const {
    pin(s);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step) {
      const std::uint32_t within = step % 4 * 32;
      wgmma_rows_128(s, q + ((step / 4 * Shared::kQueryPart + within) >> 4),
                     k + ((step / 4 * kPartBytes + within) >> 4), step > 0);
    }
    wgmma_commit();
  }

  // Starts o (+)= P V.
  __device__ __forceinline__ void start_output(Outputs& o, const std::uint32_t (&p)[kScores / 2],
                                               std::uint32_t v, bool accumulate) const {
    pin(o);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < kTileSlots / 16; ++step) {
      wgmma_columns(o, p + 4 * step, v + (step * 16 * 128 >> 4), accumulate || step > 0);
    }
    wgmma_commit();
  }

  __device__ __forceinline__ static void pack_weights(std::uint32_t (&p)[kScores / 2],
                                                      const float (&s)[kScores]) {
#pragma unroll
    for (int i = 0; i < kScores / 2; ++i) p[i] = pack_bf16(s[2 * i], s[2 * i + 1]);
  }

  // Scores of the tile in k_ring to weights; gives the tile back. Returns whether `factor`
  // applies to the outputs so far.
  __device__ __forceinline__ bool weigh_tile(RowState& state, float (&s)[kScores],
                                             std::uint32_t flags, const int (&pos)[2],
                                             RowClassSums* sums, float (&factor)[2]) {
    const TileInfo& info = shared.info[k_ring.at];
    if (flags != 0) {
      adjust_scores(s, info, flags, pos);
      if (kWindow && (flags & kTileLeft) != 0) hide_left(s, info, args.window, pos);
      if ((flags & kTileBroken) != 0) state.l[0] = state.l[1] = NAN;
    }
    if (sums == nullptr) warp_arrive(shared.k_empty[k_ring.at]);
    const bool raised = raise_rows(state, s, args.scale_log2, factor);
    const float2 sum = weigh_rows(state, s, args.scale_log2);
    if (sums != nullptr) {
      add_classes(state, s, sum, info, *sums, first_row());
      warp_arrive(shared.k_empty[k_ring.at]);
    }
    k_ring.advance();
    return raised;
  }

  __device__ __forceinline__ void wait_k() const {
    mbarrier_wait(smem_address(&shared.k_full[k_ring.at]), k_ring.parity);
  }
  __device__ __forceinline__ void wait_v() const {
    const Ring<Shared::kTileBuffers> place = v_place();
    mbarrier_wait(smem_address(&shared.v_full[place.at]), place.parity);
  }

  // The anchor's output waits in global memory, each thread's part for itself.
  __device__ __forceinline__ float4* kept() const {
    return reinterpret_cast<float4*>(args.plan.anchor_o) +
           static_cast<std::size_t>(blockIdx.x) * (Of::kColumns / 8) * kPrefillComputeThreads +
           group * kWarpgroup + thread;
  }
  __device__ __forceinline__ void keep(const Outputs& o) const {
    float4* to = kept();
#pragma unroll
    for (int i = 0; i < Of::kColumns / 8; ++i) {
      __stcg(to + i * kPrefillComputeThreads,
             float4{o[4 * i], o[4 * i + 1], o[4 * i + 2], o[4 * i + 3]});
    }
  }

  // All tiles of an item against this warpgroup's rows. The output of an anchor that stands
  // apart goes to kept(), the other stays in o.
  __device__ __forceinline__ void attend(Outputs& o, SideSums (&sides)[2], const PrefillItem& item,
                                         std::uint32_t query, const int (&pos)[2],
                                         RowClassSums* sums) {
    // The context's first tile after an anchor that stands apart.
    int first_context = item.apart != 0 ? item.anchor_end() : 0;
    const int tiles = item.tiles();
    float s[kScores];
    std::uint32_t p[kScores / 2];
    float factor[2];
    RowState state;
    bool fresh = true;  // o holds nothing of this side yet
    if (tiles > 0) {
      wait_k();
      start_scores(s, tile_descriptor(query, Shared::kQueryPart), k_descriptor());
      const std::uint32_t flags = shared.info[k_ring.at].flags;
      wgmma_wait<0>();
      pin(s);
      weigh_tile(state, s, flags, pos, sums, factor);
      pack_weights(p, s);
    }
#pragma unroll 1
    for (int tile = 1; tile < tiles; ++tile) {
      const std::uint32_t q = tile_descriptor(query, Shared::kQueryPart);
      const std::uint32_t k = k_descriptor();
      const std::uint32_t v = v_descriptor();
      wait_k();
      const std::uint32_t flags = shared.info[k_ring.at].flags;
      wait_turn();
      start_scores(s, q, k);
      wait_v();
      start_output(o, p, v, !fresh);
      pass_turn();
      wgmma_wait<1>();
      pin(s);
      fresh = --first_context == 0;
      if (fresh) finish_side(sides[0], state, sums);
      const bool raised = weigh_tile(state, s, flags, pos, sums, factor);
      wgmma_wait<0>();  // before p changes
      pin(o);
      warp_arrive(shared.v_empty[v_place().previous().at]);  // weigh_tile() went on
      pack_weights(p, s);
      if (fresh) {
        keep(o);
      } else if (raised) {
#pragma unroll
        for (int j = 0; j < Of::kColumns / 2; ++j) o[j] *= factor[j / 2 % 2];
      }
    }
    if (tiles > 0) {
      wait_v();
      start_output(o, p, v_descriptor(), !fresh);
      wgmma_wait<0>();
      pin(o);
      warp_arrive(shared.v_empty[v_place().at]);
    }
    if (first_context < tiles) {
      finish_side(sides[1], state, sums);
      return;
    }
    if (tiles > 0) {
      finish_side(sides[0], state, sums);
      keep(o);
    }
#pragma unroll
    for (float& x : o) x = 0.0F;
  }

  __device__ __forceinline__ void finish_side(SideSums& side, RowState& state,
                                              RowClassSums* sums) const {
    if (sums != nullptr) flush_class(state, *sums, first_row());
    side = SideSums(state);
    state = RowState{};
  }

  // A joint anchor's log-sum-exp comes from the class sums too.
  __device__ __forceinline__ bool wants_sums() const {
    if (Of::kHalves && group != 0) return false;  // the other warpgroup has the same rows
    return args.mass != nullptr || args.lse_context != nullptr || args.lse_anchor != nullptr;
  }

  __device__ __forceinline__ void run_item(const PrefillItem& item, unsigned char* buffer) {
    const int rows = item.of.queries * args.shape.group;
    int pos[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = min(item.first_row + group_row() + first_row() + 8 * r, rows - 1);
      pos[r] = item.of.first_pos + query_of_row(args, row);
    }
    RowClassSums* sums = nullptr;
    if (item.statistics != 0 && wants_sums()) {
      sums = &shared.sums[group];
      clear_class_sums(*sums, thread);
      named_barrier(1 + group, kWarpgroup);
    }
    Outputs o;
    SideSums sides[2];
    attend(o, sides, item, smem_address(buffer) + group_row() * 128, pos, sums);
    RowWriter<kDim> writer{args, item, group, thread};
    const bool apart = item.apart != 0 && item.anchor_end() > 0;
    writer.finish(o, sides, apart ? kept() : nullptr, sums, buffer);
  }

  __device__ __forceinline__ void run() {
    if (group == 1) pass_turn();  // the first turn is warpgroup 0's
    Ring<kItemBuffers> ring;
    for (;; ring.advance()) {
      const PrefillItem& item = wait_item(shared, ring);
      if (item.kv_head < 0) break;
      mbarrier_wait(smem_address(&shared.query_full[ring.at]), ring.parity);
      run_item(item, shared.query[ring.at]);
      warp_arrive(shared.item_empty[ring.at]);
    }
    if (plan_failed(*args.plan.header)) spoil_outputs(args, kDim);
  }
};

template <int kDim, bool kWindow>
__global__ void __launch_bounds__(kPrefillThreads, 1)
    prefill_kernel(const __grid_constant__ CUtensorMap k_map,
                   const __grid_constant__ CUtensorMap v_map,
                   const __grid_constant__ PrefillArgs args) {
  extern __shared__ __align__(1024) unsigned char raw_prefill[];
  auto& shared = *reinterpret_cast<PrefillShared<kDim>*>(raw_prefill);
  if (threadIdx.x == 0) {
    prefetch_map(&k_map);
    prefetch_map(&v_map);
    shared.initialise();
  }
  __syncthreads();
  if (threadIdx.x < kWarpgroup) {
    release_registers<40>();
    const int warp = static_cast<int>(threadIdx.x) / 32;
    if (warp == 0) {
      KeyWarp<kDim, kWindow>{args, &k_map, shared}.run();
    } else if (warp == 1) {
      ValueWarp<kDim>{args, &v_map, shared}.run();
    } else if (warp == 2) {
      SchedulingWarp<kDim>{args, shared}.run();
    } else {
      QueryWarp<kDim>{args, shared}.run();
    }
  } else {
    claim_registers<232>();
    ComputingGroup<kDim, kWindow>{args, shared}.run();
  }
}

}  // namespace fieldprint::cuda
