// Prefill attention: many queries per sequence over paged KV, causal by position, with the
// anchor's rows in the same launch. One warpgroup loads, two compute, 64 packed rows each.
//
// A computing warpgroup starts the multiplies of the next tile's scores and of the last tile's
// weights together and weighs the scores while the latter run; one warpgroup's softmax runs
// under the other's multiplies.
// The anchor is a softmax of its own: its output waits in global memory until the context is
// done, when both are weighed (weights.cuh) as in decode.
#pragma once

#include <cuda_bf16.h>

#include "attention/cuda/kernels/prefill_load.cuh"
#include "attention/cuda/kernels/prefill_output.cuh"
#include "attention/cuda/kernels/prefill_softmax.cuh"

namespace fieldprint::cuda {

template <int kDim>
struct ComputingGroup {
  using Shared = PrefillShared<kDim>;
  const PrefillArgs& args;
  Shared& shared;
  int group = static_cast<int>(threadIdx.x) / kWarpgroup - 1;
  int thread = static_cast<int>(threadIdx.x) % kWarpgroup;
  int lane = threadIdx.x & 31;
  Ring<kTileBuffers> k_ring = {};
  Ring<kTileBuffers> v_ring = {};

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

  __device__ __forceinline__ std::uint32_t k_descriptor() const {
    return tile_descriptor(smem_address(shared.k[k_ring.at]), kPartBytes);
  }
  __device__ __forceinline__ std::uint32_t v_descriptor() const {
    return tile_descriptor(smem_address(shared.v[v_ring.at]), kPartBytes);
  }

  // Starts scores = Q K^T.
  __device__ __forceinline__ void start_scores(float (&s)[kScores], std::uint32_t q,
                                               std::uint32_t k) const {
    pin(s);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < kDim / 16; ++step) {
      const std::uint32_t offset = (step / 4 * kPartBytes + step % 4 * 32) >> 4;
      wgmma_rows_128(s, q + offset, k + offset, step > 0);
    }
    wgmma_commit();
  }

  // Starts o (+)= P V.
  __device__ __forceinline__ void start_output(float (&o)[kDim / 2],
                                               const std::uint32_t (&p)[kScores / 2],
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
    mbarrier_wait(smem_address(&shared.v_full[v_ring.at]), v_ring.parity);
  }

  // The anchor's output waits in global memory, each thread's part for itself.
  __device__ __forceinline__ float4* kept() const {
    return reinterpret_cast<float4*>(args.plan.anchor_o) +
           static_cast<std::size_t>(blockIdx.x) * (kDim / 8) * kPrefillComputeThreads +
           group * kWarpgroup + thread;
  }
  __device__ __forceinline__ void keep(const float (&o)[kDim / 2]) const {
    float4* to = kept();
#pragma unroll
    for (int i = 0; i < kDim / 8; ++i) {
      __stcg(to + i * kPrefillComputeThreads,
             float4{o[4 * i], o[4 * i + 1], o[4 * i + 2], o[4 * i + 3]});
    }
  }

  // All tiles of an item against this warpgroup's rows: the anchor's, whose output goes to
  // kept(), then the context's, whose output stays in o. sums: the anchor's, then the context's.
  __device__ __forceinline__ void attend(float (&o)[kDim / 2], SideSums (&sides)[2],
                                         const PrefillItem& item, std::uint32_t query,
                                         const int (&pos)[2], RowClassSums* sums) {
    const int first_context = item.anchor_tiles;
    const int tiles = first_context + item.context_tiles;
    float s[kScores];
    std::uint32_t p[kScores / 2];
    float factor[2];
    RowState state;
    bool fresh = true;  // o holds nothing of this side yet
    if (sums != nullptr && first_context == 0) ++sums;
    if (tiles > 0) {
      wait_k();
      start_scores(s, tile_descriptor(query, kPartBytes), k_descriptor());
      const std::uint32_t flags = shared.info[k_ring.at].flags;
      wgmma_wait<0>();
      pin(s);
      weigh_tile(state, s, flags, pos, sums, factor);
      pack_weights(p, s);
    }
#pragma unroll 1
    for (int tile = 1; tile < tiles; ++tile) {
      const std::uint32_t q = tile_descriptor(query, kPartBytes);
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
      fresh = tile == first_context;
      if (fresh) {
        finish_side(sides[0], state, sums);
        if (sums != nullptr) ++sums;
      }
      const bool raised = weigh_tile(state, s, flags, pos, sums, factor);
      wgmma_wait<0>();  // before p changes
      pin(o);
      warp_arrive(shared.v_empty[v_ring.at]);
      v_ring.advance();
      pack_weights(p, s);
      if (fresh) {
        keep(o);
      } else if (raised) {
#pragma unroll
        for (int j = 0; j < kDim / 2; ++j) o[j] *= factor[j / 2 % 2];
      }
    }
    if (tiles > 0) {
      wait_v();
      start_output(o, p, v_descriptor(), !fresh);
      wgmma_wait<0>();
      pin(o);
      warp_arrive(shared.v_empty[v_ring.at]);
      v_ring.advance();
    }
    if (item.context_tiles > 0) {
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

  __device__ __forceinline__ void run_item(const PrefillItem& item, unsigned char* buffer) {
    const int rows = item.of.queries * args.shape.group;
    int pos[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = min(item.first_row + group * 64 + first_row() + 8 * r, rows - 1);
      pos[r] = item.of.first_pos + query_of_row(args, row);
    }
    RowClassSums* sums = nullptr;
    if (item.statistics != 0 && args.mass != nullptr) {
      sums = shared.sums[group];
      clear_class_sums(sums[0], thread);
      clear_class_sums(sums[1], thread);
      named_barrier(1 + group, kWarpgroup);
    }
    float o[kDim / 2];
    SideSums sides[2];
    attend(o, sides, item, smem_address(buffer) + group * 64 * 128, pos, sums);
    RowWriter<kDim> writer{args, item, group, thread};
    writer.finish(o, sides, item.anchor_tiles > 0 ? kept() : nullptr, sums, buffer);
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

template <int kDim>
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
      KeyWarp<kDim>{args, &k_map, shared}.run();
    } else if (warp == 1) {
      ValueWarp<kDim>{args, &v_map, shared}.run();
    } else if (warp == 2) {
      SchedulingWarp<kDim>{args, shared}.run();
    } else {
      QueryWarp<kDim>{args, shared}.run();
    }
  } else {
    claim_registers<232>();
    ComputingGroup<kDim>{args, shared}.run();
  }
}

}  // namespace fieldprint::cuda
