// The planner: one CTA that turns page counts into work lists, so that no host ever
// needs to know a sequence's length and a step can be replayed as a CUDA graph.
//
// Runs once per step; every layer's decode launch reads the same lists. Deterministic.
// Work order never changes results (every item writes its own partial), only time.
#pragma once

#include "attention/cuda/kernels/planner_common.cuh"
#include "attention/cuda/kernels/work.cuh"

namespace fieldprint::cuda {

// The first index whose inclusive sum is greater than `x`.
__device__ __forceinline__ int owner_of(const int* inclusive, int count, int x) {
  int low = 0;
  int high = count - 1;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (inclusive[middle] > x) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

struct PlannerShared {
  int scratch[32];
  int anchor[kMaxBatch];
  int full[kMaxBatch];    // inclusive sums of full leaves
  int tail[kMaxBatch];    // inclusive sums of last, shorter leaves
  int chunks[kMaxBatch];  // inclusive sums of anchor chunks of group leaders
  int base[kMaxBatch];
  int pages[kMaxBatch];
  std::uint32_t status;
};

// Sorts the sequences by anchor and lists one item per (anchor, chunk, group of
// sequences). Returns the number of items.
__device__ __forceinline__ int plan_anchors(const PlannerArgs& args, PlannerShared& shared,
                                            const PlannedSequence& mine) {
  const int i = threadIdx.x;
  const int batch = args.table.batch;
  int before = 0;  // sequences with a smaller anchor id
  int rank = 0;    // earlier sequences with mine
  int total = 0;   // all sequences with mine
  if (mine.anchor >= 0) {
    for (int j = 0; j < batch; ++j) {
      const int other = shared.anchor[j];
      before += other >= 0 && other < mine.anchor;
      total += other == mine.anchor;
      rank += other == mine.anchor && j < i;
    }
    args.plan.members[before + rank] = AnchorMember{i, shared.base[i] - mine.anchor_chunks};
  }
  const int per_group = kAnchorColumnGroups * (kColumns / args.shape.group);
  const bool leads = mine.anchor >= 0 && rank % per_group == 0;
  const int inclusive = inclusive_scan(leads ? mine.anchor_chunks : 0, shared.scratch);
  if (leads) {
    const int pages_per_chunk = kChunkSlabs >> args.shape.log2_slabs_per_page;
    const int anchor_pages = args.table.anchor_page_counts[mine.anchor];
    const int sequences = total - rank < per_group ? total - rank : per_group;
    for (int c = 0; c < mine.anchor_chunks; ++c) {
      const int left = anchor_pages - c * pages_per_chunk;
      const int pages = left < pages_per_chunk ? left : pages_per_chunk;
      args.plan.anchor_list[inclusive - mine.anchor_chunks + c] =
          AnchorItem{mine.anchor, c | (pages << 8), before + rank, sequences};
    }
  }
  if (i == kPlannerThreads - 1) shared.chunks[0] = inclusive;
  __syncthreads();
  return shared.chunks[0];
}

// Lists the context leaves: the full ones first, then the shorter last ones.
__device__ __forceinline__ void plan_leaves(const PlannerArgs& args, const PlannerShared& shared,
                                            int full_total, int tail_total) {
  const int batch = args.table.batch;
  const int pages_per_leaf = (kLeafSlots / kSlabRows) >> args.shape.log2_slabs_per_page;
  for (int e = threadIdx.x; e < full_total + tail_total; e += kPlannerThreads) {
    int sequence;
    int leaf;
    if (e < full_total) {
      sequence = owner_of(shared.full, batch, e);
      leaf = e - (sequence == 0 ? 0 : shared.full[sequence - 1]);
    } else {
      sequence = owner_of(shared.tail, batch, e - full_total);
      leaf = shared.pages[sequence] / pages_per_leaf;
    }
    const int first = leaf * pages_per_leaf;
    const int left = shared.pages[sequence] - first;
    const int partial = shared.base[sequence] + leaf;
    args.plan.leaf_list[e] =
        LeafItem{sequence, first, left < pages_per_leaf ? left : pages_per_leaf, partial};
  }
}

// Whether the step has more leaves than the workspace; sets the status if so.
__device__ __forceinline__ bool plan_needs_too_much(const PlannerArgs& args,
                                                    const PlannedSequence& mine, int pages_per_leaf,
                                                    PlannerShared& shared) {
  const int leaves = (mine.pages + pages_per_leaf - 1) / pages_per_leaf;
  const int sum = inclusive_scan(leaves > 0 ? leaves : 1, shared.scratch);
  // Threads without a sequence count one each.
  const int limit = args.plan.max_leaves + kPlannerThreads - args.table.batch;
  if (threadIdx.x == kPlannerThreads - 1 && sum > limit) shared.status |= kPlanTooManyPages;
  __syncthreads();
  return (shared.status & kPlanTooManyPages) != 0;
}

__device__ __forceinline__ void write_opening(const PlannerArgs& args, const PlanHeader& header,
                                              int ticket) {
  Work work;
  work.describe(args.plan, args.shape, Agenda(header, args.shape.kv_heads), ticket);
  OpeningItem opening{};
  opening.kind = static_cast<int>(work.kind);
  opening.kv_head = work.kv_head;
  opening.item[0] = work.item.x;
  opening.item[1] = work.item.y;
  opening.item[2] = work.item.z;
  opening.item[3] = work.item.w;
  args.plan.openings[ticket] = opening;
}

__global__ void __launch_bounds__(kPlannerThreads) plan_kernel(const PlannerArgs args) {
  __shared__ PlannerShared shared;
  const int i = threadIdx.x;
  if (i == 0) shared.status = 0;
  __syncthreads();
  const PlannedSequence mine = inspect_sequence(args.table, args.shape, i, &shared.status);
  __syncthreads();
  // With an error in the tables, every sequence gets one empty leaf, whose merge answers
  // NaN. So does a sequence without any row, whose merge answers (0, -infinity).
  PlannedSequence planned = shared.status == 0 ? mine : PlannedSequence{};
  const int pages_per_leaf = (kLeafSlots / kSlabRows) >> args.shape.log2_slabs_per_page;
  if (plan_needs_too_much(args, planned, pages_per_leaf, shared)) planned = PlannedSequence{};
  const bool exists = i < args.table.batch;
  const bool empty = planned.pages == 0 && planned.anchor_chunks == 0;
  const int full = planned.pages / pages_per_leaf;
  const int tail = exists && (planned.pages % pages_per_leaf != 0 || empty) ? 1 : 0;
  const int parts = planned.anchor_chunks + full + tail;
  shared.anchor[i] = planned.anchor;
  shared.pages[i] = planned.pages;
  shared.full[i] = inclusive_scan(full, shared.scratch);
  shared.tail[i] = inclusive_scan(tail, shared.scratch);
  const int base = inclusive_scan(parts, shared.scratch) - parts;
  shared.base[i] = base + planned.anchor_chunks;
  if (exists) {
    args.plan.sequences[i] = SequenceInfo{base, planned.anchor_chunks, parts, planned.anchor};
  }
  const int anchor_items = plan_anchors(args, shared, planned);
  const int full_total = shared.full[kPlannerThreads - 1];
  const int tail_total = shared.tail[kPlannerThreads - 1];
  plan_leaves(args, shared, full_total, tail_total);
  const PlanHeader header{shared.status, full_total + tail_total, anchor_items, 0, 0};
  if (i == 0) *args.plan.header = header;
  __syncthreads();
  if (i < args.plan.opening_count) write_opening(args, header, i);
}

}  // namespace fieldprint::cuda
