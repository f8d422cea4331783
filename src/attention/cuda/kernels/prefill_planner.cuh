// The prefill planner: one CTA that orders the step's sequences by length and counts their
// items, so that no host needs to know a length. Deterministic; order never changes results.
#pragma once

#include "attention/cuda/kernels/planner_common.cuh"
#include "attention/cuda/kernels/prefill_params.cuh"

namespace fieldprint::cuda {

struct PrefillPlannerShared {
  int scratch[32];
  int pages[kMaxBatch];    // of sequences with queries; -1 = none
  int tickets[kMaxBatch];  // by rank
  std::uint32_t status;
};

// Queries of sequence i; 0 and a status bit when its starts make no sense.
__device__ __forceinline__ int inspect_queries(const PrefillPlannerArgs& args, int i,
                                               std::uint32_t* status) {
  if (i >= args.table.batch) return 0;
  const int first = args.queries.starts[i];
  const int end = args.queries.starts[i + 1];
  if (first >= 0 && first <= end && end <= args.queries.tokens) return end - first;
  atomicOr(status, kPlanBadQueries);
  return 0;
}

__global__ void __launch_bounds__(kPlannerThreads)
    prefill_plan_kernel(const PrefillPlannerArgs args) {
  __shared__ PrefillPlannerShared shared;
  const int i = threadIdx.x;
  if (i == 0) shared.status = 0;
  __syncthreads();
  const PlannedSequence planned = inspect_sequence(args.table, args.shape, i, &shared.status);
  inspect_cuts(args.table, i, planned.pages, &shared.status);
  const int queries = inspect_queries(args, i, &shared.status);
  shared.pages[i] = queries > 0 ? planned.pages : -1;
  shared.tickets[i] = 0;
  __syncthreads();
  int rank = 0;
  for (int j = 0; j < args.table.batch; ++j) {
    rank += shared.pages[j] > shared.pages[i] || (shared.pages[j] == shared.pages[i] && j < i);
  }
  if (queries > 0) {
    const int items = (queries * args.shape.group + args.item_rows - 1) / args.item_rows;
    shared.tickets[rank] = items * args.shape.kv_heads;
    PrefillSequence s{};
    s.sequence = i;
    s.q_start = args.queries.starts[i];
    s.queries = queries;
    s.first_pos = args.queries.first_positions[i];
    s.pages = planned.pages;
    s.anchor = planned.anchor;
    s.anchor_pages = planned.anchor < 0 ? 0 : args.table.anchor_page_counts[planned.anchor];
    if (args.table.cuts != nullptr && planned.pages > 0) {
      s.cuts[0] = args.table.cuts[2 * i];
      s.cuts[1] = args.table.cuts[2 * i + 1];
    }
    args.plan.sequences[rank] = s;
  }
  const int ranks = __syncthreads_count(queries > 0);
  const int end = inclusive_scan(shared.tickets[i], shared.scratch);
  if (i < ranks) args.plan.ends[i] = end;
  if (i == kPlannerThreads - 1) {
    *args.plan.header = PrefillHeader{shared.status, ranks, end, 0, 0};
  }
}

}  // namespace fieldprint::cuda
