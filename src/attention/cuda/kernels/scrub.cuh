// Hashes pinned pages: when they are pinned, and again a few at each step (kv_capi.h).
#pragma once

#include "attention/cuda/kernels/kv_params.cuh"
#include "attention/cuda/kernels/page_hash.h"

namespace fieldprint::cuda {

inline constexpr int kScrubThreads = 512;
inline constexpr int kScrubLoads = 2;  // of K and of V in flight per thread

__device__ __forceinline__ std::uint64_t mix_vector(const ulonglong2& data, std::uint32_t vector) {
  return mix_word(data.x, 2 * vector) + mix_word(data.y, 2 * vector + 1);
}

// The page's hash, in thread 0. All threads of the CTA call it.
__device__ __forceinline__ std::uint64_t hash_page(const ScrubArgs& args, std::uint32_t entry,
                                                   int layer) {
  const std::int64_t base = static_cast<std::int64_t>(entry >> 9) * args.page_vectors;
  const auto* k = static_cast<const ulonglong2*>(args.pools.k[layer]) + base;
  const auto* v = static_cast<const ulonglong2*>(args.pools.v[layer]) + base;
  const int last_row = static_cast<int>(entry & 63U);
  const int row_mask = (1 << args.log2_page_rows) - 1;
  std::uint64_t sum = 0;
  for (int first = threadIdx.x; first < args.page_vectors; first += kScrubLoads * kScrubThreads) {
    ulonglong2 data[2 * kScrubLoads];
    bool valid[kScrubLoads];
#pragma unroll
    for (int i = 0; i < kScrubLoads; ++i) {
      const int at = first + i * kScrubThreads;
      valid[i] = at < args.page_vectors && ((at >> args.log2_row_vectors) & row_mask) <= last_row;
      if (!valid[i]) continue;
      data[i] = k[at];
      data[i + kScrubLoads] = v[at];
    }
#pragma unroll
    for (int i = 0; i < kScrubLoads; ++i) {
      if (!valid[i]) continue;
      const auto at = static_cast<std::uint32_t>(first + i * kScrubThreads);
      sum += mix_vector(data[i], at);
      sum += mix_vector(data[i + kScrubLoads], at + static_cast<std::uint32_t>(args.page_vectors));
    }
  }
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_down_sync(~0U, sum, offset);
  __shared__ std::uint64_t warp_sums[kScrubThreads / 32];
  if ((threadIdx.x & 31) == 0) warp_sums[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return 0;
  for (int warp = 1; warp < kScrubThreads / 32; ++warp) sum += warp_sums[warp];
  return sum;
}

__device__ __forceinline__ bool in_pool(const ScrubArgs& args, std::uint32_t entry) {
  return entry >> 9 < static_cast<std::uint32_t>(args.pool_pages) &&
         static_cast<int>(entry & 63U) < 1 << args.log2_page_rows;
}

// One thread. Only the first finding is written; `failed` is set last.
__device__ __forceinline__ void report_finding(const ScrubArgs& args,
                                               const fp_kv_scrub_report& finding) {
  atomicAdd(&args.scrub.state->failures, 1U);
  if (atomicCAS(&args.scrub.state->claimed, 0U, 1U) != 0U) return;
  volatile fp_kv_scrub_report* report = args.scrub.report;
  report->pin = finding.pin;
  report->page = finding.page;
  report->layer = finding.layer;
  report->expected = finding.expected;
  report->found = finding.found;
  __threadfence_system();
  report->failed = finding.failed;
}

// One thread, when every CTA of the step is done with its unit.
__device__ __forceinline__ void end_step(const ScrubArgs& args, std::uint32_t cursor,
                                         std::uint32_t done, std::uint32_t total) {
  fp_kv_scrub_state* state = args.scrub.state;
  state->cursor = total == 0 ? 0 : (cursor + done) % total;
  state->checked += done;
  state->finished = 0;
  volatile fp_kv_scrub_report* report = args.scrub.report;
  report->checked = state->checked;
}

// A CTA per (place, layer).
__global__ void __launch_bounds__(kScrubThreads)
    scrub_pin_kernel(const __grid_constant__ ScrubArgs args) {
  const int pin = args.first + static_cast<int>(blockIdx.x / args.layers);
  const int layer = static_cast<int>(blockIdx.x % args.layers);
  const std::uint32_t entry = args.scrub.entries[pin];
  if (entry == FP_KV_NO_PIN) return;
  const std::int64_t at = std::int64_t{pin} * args.layers + layer;
  if (!in_pool(args, entry)) {
    if (threadIdx.x == 0) {
      report_finding(args,
                     {FP_KV_SCRUB_BAD_TABLE, pin, static_cast<int>(entry >> 9), layer, 0, 0, 0});
    }
    return;
  }
  const std::uint64_t hash = hash_page(args, entry, layer);
  if (threadIdx.x == 0) args.scrub.digests[at] = hash;
}

// A CTA per unit, from the cursor on; the last to finish moves the cursor.
__global__ void __launch_bounds__(kScrubThreads)
    scrub_step_kernel(const __grid_constant__ ScrubArgs args) {
  const std::uint32_t cursor = args.scrub.state->cursor;
  const int count = *args.scrub.count;
  const bool bad_count = count < 0 || count > args.scrub.max_pins;
  const std::uint32_t total =
      bad_count ? 0U : static_cast<std::uint32_t>(count) * static_cast<std::uint32_t>(args.layers);
  const std::uint32_t done = min(gridDim.x, total);
  if (blockIdx.x < done) {
    const std::uint32_t unit = (cursor % total + blockIdx.x) % total;
    const int pin = static_cast<int>(unit / args.layers);
    const int layer = static_cast<int>(unit % args.layers);
    const std::uint32_t entry = args.scrub.entries[pin];
    const int page = static_cast<int>(entry >> 9);
    if (entry != FP_KV_NO_PIN && in_pool(args, entry)) {
      const std::uint64_t found = hash_page(args, entry, layer);
      const std::uint64_t expected = args.scrub.digests[unit];
      if (threadIdx.x == 0 && found != expected) {
        report_finding(args, {FP_KV_SCRUB_DAMAGED, pin, page, layer, expected, found, 0});
      }
    } else if (entry != FP_KV_NO_PIN && threadIdx.x == 0) {
      report_finding(args, {FP_KV_SCRUB_BAD_TABLE, pin, page, layer, 0, 0, 0});
    }
  } else if (bad_count && blockIdx.x == 0 && threadIdx.x == 0) {
    report_finding(args, {FP_KV_SCRUB_BAD_TABLE, count, -1, -1, 0, 0, 0});
  }
  if (threadIdx.x != 0) return;
  __threadfence();
  if (atomicAdd(&args.scrub.state->finished, 1U) == gridDim.x - 1) {
    end_step(args, total == 0 ? 0 : cursor % total, done, total);
  }
}

}  // namespace fieldprint::cuda
