// What the decode and the prefill planner share.
#pragma once

#include "attention/cuda/kernels/params.cuh"

namespace fieldprint::cuda {

inline constexpr int kPlannerThreads = 1024;

// Inclusive prefix sums of `value` over the CTA's threads. `scratch` holds 32 words.
__device__ __forceinline__ int inclusive_scan(int value, int* scratch) {
  const int lane = threadIdx.x & 31;
  const int warp = threadIdx.x >> 5;
  for (int step = 1; step < 32; step *= 2) {
    const int other = __shfl_up_sync(~0U, value, step);
    if (lane >= step) value += other;
  }
  __syncthreads();
  if (lane == 31) scratch[warp] = value;
  __syncthreads();
  if (warp == 0) {
    int sum = scratch[lane];
    for (int step = 1; step < 32; step *= 2) {
      const int other = __shfl_up_sync(~0U, sum, step);
      if (lane >= step) sum += other;
    }
    scratch[lane] = sum;
  }
  __syncthreads();
  return value + (warp == 0 ? 0 : scratch[warp - 1]);
}

// What thread i knows about sequence i.
struct PlannedSequence {
  int pages = 0;
  int anchor = -1;
  int anchor_chunks = 0;
};

__device__ __forceinline__ PlannedSequence inspect_sequence(const TableView& table,
                                                            const ShapeView& shape, int i,
                                                            std::uint32_t* status) {
  PlannedSequence s;
  if (i >= table.batch) return s;
  s.pages = table.page_counts[i];
  if (s.pages < 0 || s.pages > table.page_stride) {
    atomicOr(status, kPlanBadPageCount);
    s.pages = 0;
  }
  if (table.anchor_ids == nullptr) return s;
  s.anchor = table.anchor_ids[i];
  if (s.anchor < 0) return s;
  const int anchor_pages = s.anchor < table.anchors ? table.anchor_page_counts[s.anchor] : -1;
  if (anchor_pages < 0 || anchor_pages > table.anchor_stride) {
    atomicOr(status, kPlanBadAnchor);
    s.anchor = -1;
    return s;
  }
  const int pages_per_chunk = kChunkSlabs >> shape.log2_slabs_per_page;
  s.anchor_chunks = (anchor_pages + pages_per_chunk - 1) / pages_per_chunk;
  if (s.anchor_chunks == 0) s.anchor = -1;
  return s;
}

// Adds a status bit if the cuts make no sense; thread i speaks of sequence i.
__device__ __forceinline__ void inspect_cuts(const TableView& table, int i, int pages,
                                             std::uint32_t* status) {
  if (table.cuts == nullptr || i >= table.batch) return;
  const int first = table.cuts[2 * i];
  const int second = table.cuts[2 * i + 1];
  if (first < 0 || second < first || second > pages) atomicOr(status, kPlanBadCuts);
}

}  // namespace fieldprint::cuda
