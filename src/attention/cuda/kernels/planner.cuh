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

// A stretch of a sequence's pages that starts on a leaf.
struct Segment {
  std::int32_t first_page;
  std::int32_t pages;
};

struct PlannerShared {
  int scratch[32];
  int anchor[kMaxBatch];
  int full[kMaxBatch];  // inclusive sums of full units
  int tail[kMaxBatch];  // inclusive sums of last, shorter units
  int base[kMaxBatch];  // of the context's partials
  Segment segments[kSegments][kMaxBatch];
  int hidden[kMaxBatch];  // slots of the first leaf before the window
  std::uint32_t status;
  int total;
};

// The sum of every thread's value, in all of them.
__device__ __forceinline__ int sum_over_cta(int value, PlannerShared& shared) {
  const int sum = inclusive_scan(value, shared.scratch);
  if (threadIdx.x == kPlannerThreads - 1) shared.total = sum;
  __syncthreads();
  const int total = shared.total;
  __syncthreads();
  return total;
}

// The slot of the first row at or after position `x`, or where the last page ends. Slots that
// no row fills may be counted to either side.
__device__ __forceinline__ int first_slot_at(const std::int32_t* positions, int pages,
                                             int page_rows, int x) {
  int low = 0;  // the last page that starts at or before x lies in [low, high)
  int high = pages;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (positions[middle] <= x) {
      low = middle;
    } else {
      high = middle;
    }
  }
  if (pages == 0 || positions[low] > x) return 0;
  return low * page_rows + min(x - positions[low], page_rows);
}

// What the window hides of a sequence: slots of its context and of its anchor.
struct Hidden {
  int context = 0;
  int anchor = 0;
};
__device__ __forceinline__ Hidden hidden_slots(const PlannerArgs& args,
                                               const PlannedSequence& planned, int sequence) {
  Hidden hidden;
  const TableView& t = args.table;
  if (args.window.rows == 0 || planned.pages == 0) return hidden;
  const int page_rows = kSlabRows << args.shape.log2_slabs_per_page;
  const std::size_t row = static_cast<std::size_t>(sequence) * t.page_stride;
  const std::int32_t* positions = args.window.page_positions + row;
  const int last = planned.pages - 1;
  const int query = positions[last] + static_cast<int>(t.pages[row + last] & 63U);
  const int first = query - args.window.rows + 1;  // position that it still sees
  hidden.context = first_slot_at(positions, planned.pages, page_rows, first);
  if (planned.anchor < 0) return hidden;
  const std::size_t anchor_row = static_cast<std::size_t>(planned.anchor) * t.anchor_stride;
  const int anchor_pages = t.anchor_page_counts[planned.anchor];
  hidden.anchor =
      first_slot_at(args.window.anchor_positions + anchor_row, anchor_pages, page_rows, first);
  const int rows = static_cast<int>(t.anchor_pages[anchor_row + anchor_pages - 1] & 63U) + 1;
  if (hidden.anchor >= (anchor_pages - 1) * page_rows + rows) hidden.anchor = kMaxAnchorSlots;
  return hidden;
}

// Cuts sequence i's pages into segments, without the leaves before the window.
__device__ __forceinline__ void cut_sequence(const PlannerArgs& args, int pages, int hidden, int i,
                                             PlannerShared& shared) {
  const int log2_pages = 5 - args.shape.log2_slabs_per_page;  // per leaf
  const int log2_rows = 4 + args.shape.log2_slabs_per_page;   // per page
  int cuts[kSegments + 1] = {0, 0, 0, pages};
  if (args.table.cuts != nullptr && i < args.table.batch && pages > 0) {
    cuts[1] = args.table.cuts[2 * i];
    cuts[2] = args.table.cuts[2 * i + 1];
  }
  shared.hidden[i] = 0;
#pragma unroll
  for (int s = 0; s < kSegments; ++s) {
    int first = cuts[s];
    const int end = cuts[s + 1];
    const int before = hidden - (first << log2_rows);  // hidden slots of this segment
    if (before > 0) {
      first = min(first + (before >> (log2_rows + log2_pages) << log2_pages), end);
      const int left = hidden - (first << log2_rows);
      if ((end - first) << log2_rows <= left) {
        first = end;
      } else {
        shared.hidden[i] = left;
      }
    }
    shared.segments[s][i] = Segment{first, end - first};
  }
}

// Sorts the sequences by anchor and lists one item per (anchor, chunk, group of
// sequences). Returns the number of items. An anchor of one sequence `alone` is a leaf instead,
// unless the step is split.
__device__ __forceinline__ int plan_anchors(const PlannerArgs& args, PlannerShared& shared,
                                            const PlannedSequence& mine, int hidden, bool alone,
                                            int before, int rank, int total) {
  const int i = threadIdx.x;
  const bool member = mine.anchor >= 0 && !alone;
  if (member) {
    args.plan.members[before + rank] =
        AnchorMember{i | hidden << 16, shared.base[i] - mine.anchor_chunks};
  }
  const int per_group = kAnchorColumnGroups * (kColumns / args.shape.group);
  const bool leads = member && rank % per_group == 0;
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
  if (i == kPlannerThreads - 1) shared.total = inclusive;
  __syncthreads();
  return shared.total;
}

// Lists the context's units (leaves, or chunks in a split step) from entry `before` on: the full
// ones first, then the shorter last ones of the segments.
__device__ __forceinline__ void plan_units(const PlannerArgs& args, const PlannerShared& shared,
                                           int before, int full_total, int tail_total, bool split) {
  const int batch = args.table.batch;
  const int log2_unit = (split ? 3 : 5) - args.shape.log2_slabs_per_page;  // pages
  const int pages_per_unit = 1 << log2_unit;
  for (int e = threadIdx.x; e < full_total + tail_total; e += kPlannerThreads) {
    const bool is_full = e < full_total;
    const int at = is_full ? e : e - full_total;
    const int* sums = is_full ? shared.full : shared.tail;
    const int sequence = owner_of(sums, batch, at);
    int rank = at - (sequence == 0 ? 0 : sums[sequence - 1]);  // among the sequence's of its kind
    int partial = shared.base[sequence];
    bool first_leaf = true;  // of those the window leaves
    for (int s = 0; s < kSegments; ++s) {
      const Segment segment = shared.segments[s][sequence];
      const int full = segment.pages >> log2_unit;
      const int rest = segment.pages - (full << log2_unit);
      const int count = is_full ? full : rest > 0;
      if (rank < count) {
        const int unit = is_full ? rank : full;
        const int hidden =
            first_leaf ? shared.hidden[sequence] -
                             unit * pages_per_unit * (kSlabRows << args.shape.log2_slabs_per_page)
                       : 0;
        args.plan.leaf_list[before + e] =
            LeafItem{sequence, segment.first_page + (unit << log2_unit),
                     (is_full ? pages_per_unit : rest) | max(hidden, 0) << 16, partial + unit};
        break;
      }
      rank -= count;
      const int leaves =
          (segment.pages + (kLeafSlots / kSlabRows >> args.shape.log2_slabs_per_page) - 1) >>
          (5 - args.shape.log2_slabs_per_page);
      partial += split ? leaves * kWarps : leaves;
      first_leaf &= segment.pages == 0;
    }
  }
}

// Lists the anchor of this thread's sequence, which no other uses.
__device__ __forceinline__ void list_anchor_leaf(const PlannerArgs& args,
                                                 const PlannedSequence& mine, int hidden, int entry,
                                                 int partial) {
  const int pages = args.table.anchor_page_counts[mine.anchor];
  args.plan.leaf_list[entry] = LeafItem{static_cast<int>(threadIdx.x) | kAnchorLeaf, mine.anchor,
                                        pages | hidden << 16, partial};
}

__device__ __forceinline__ void write_opening(const PlannerArgs& args, const PlanHeader& header,
                                              int ticket) {
  Work work;
  work.describe(args.plan, args.shape,
                Agenda(header, args.shape.kv_heads, args.plan.opening_count / 2), ticket);
  OpeningItem opening{};
  opening.kind = static_cast<int>(work.kind);
  opening.kv_head = work.kv_head;
  opening.item[0] = work.item.x;
  opening.item[1] = work.item.y;
  opening.item[2] = work.item.z;
  opening.item[3] = work.item.w;
  args.plan.openings[ticket] = opening;
}

// How sequence i's anchor stands among the others': sequences with smaller anchor ids, earlier
// ones with its own, all with its own.
struct AnchorRank {
  int before = 0;
  int rank = 0;
  int total = 0;
  __device__ __forceinline__ AnchorRank(const int* anchors, int batch, int mine, int i) {
    if (mine < 0) return;
    for (int j = 0; j < batch; ++j) {
      const int other = anchors[j];
      before += other >= 0 && other < mine;
      total += other == mine;
      rank += other == mine && j < i;
    }
  }
};

__global__ void __launch_bounds__(kPlannerThreads) plan_kernel(const PlannerArgs args) {
  __shared__ PlannerShared shared;
  const int i = threadIdx.x;
  if (i == 0) shared.status = 0;
  __syncthreads();
  PlannedSequence planned = inspect_sequence(args.table, args.shape, i, &shared.status);
  inspect_cuts(args.table, i, planned.pages, &shared.status);
  __syncthreads();
  // With an error in the tables no sequence has any row; the merge answers NaN.
  if (shared.status != 0) planned = PlannedSequence{};
  const Hidden hidden = hidden_slots(args, planned, i);
  if (hidden.anchor >= kMaxAnchorSlots) planned.anchor = -1;
  if (planned.anchor < 0) planned.anchor_chunks = 0;
  cut_sequence(args, planned.pages, hidden.context, i, shared);
  const int log2_leaf = 5 - args.shape.log2_slabs_per_page;  // pages
  const auto units = [&](int s, int log2_pages) {
    return (shared.segments[s][i].pages + (1 << log2_pages) - 1) >> log2_pages;
  };
  int leaves = units(0, log2_leaf) + units(1, log2_leaf) + units(2, log2_leaf);
  const int step_leaves = sum_over_cta(leaves, shared);
  if (step_leaves > args.plan.max_leaves) {
    planned = PlannedSequence{};
    cut_sequence(args, 0, 0, i, shared);
    leaves = 0;
    if (i == 0) shared.status |= kPlanTooManyPages;
  }
  shared.anchor[i] = planned.anchor;
  __syncthreads();
  const AnchorRank rank(shared.anchor, args.table.batch, planned.anchor, i);
  // Few leaves leave multiprocessors idle: four CTAs then work one leaf, a chunk each, as long
  // as each CTA has one item at most.
  const int chunks = sum_over_cta(leaves * kWarps + planned.anchor_chunks, shared);
  const bool split = step_leaves <= args.plan.split_leaves &&
                     args.table.batch <= args.plan.split_batch &&
                     chunks * args.shape.kv_heads <= args.plan.opening_count / 2;
  const bool alone = planned.anchor >= 0 && rank.total == 1 && !split;
  const int anchor_partials = alone ? 1 : planned.anchor_chunks;
  const int log2_unit = split ? log2_leaf - 2 : log2_leaf;
  int full = 0;
  int tail = 0;
  SequenceInfo info{0, planned.anchor, anchor_partials, split, {}, 0};
  for (int s = 0; s < kSegments; ++s) {
    const int pages = shared.segments[s][i].pages;
    full += pages >> log2_unit;
    tail += (pages & ((1 << log2_unit) - 1)) != 0;
    info.chunks[s] = units(s, log2_leaf - 2);
  }
  const int parts = anchor_partials + leaves * (split ? kWarps : 1);
  shared.full[i] = inclusive_scan(full, shared.scratch);
  shared.tail[i] = inclusive_scan(tail, shared.scratch);
  info.base = inclusive_scan(parts, shared.scratch) - parts;
  shared.base[i] = info.base + anchor_partials;
  if (i < args.table.batch) args.plan.sequences[i] = info;
  const int anchor_leaf = inclusive_scan(alone ? 1 : 0, shared.scratch);
  const int anchor_leaves = sum_over_cta(alone ? 1 : 0, shared);
  const int anchor_items =
      plan_anchors(args, shared, planned, hidden.anchor, alone, rank.before, rank.rank, rank.total);
  const int full_total = shared.full[kPlannerThreads - 1];
  const int tail_total = shared.tail[kPlannerThreads - 1];
  plan_units(args, shared, anchor_leaves, full_total, tail_total, split);
  if (alone) list_anchor_leaf(args, planned, hidden.anchor, anchor_leaf - 1, info.base);
  const PlanHeader header{
      shared.status, full_total + tail_total + anchor_leaves, anchor_items, 0, 0, split};
  if (i == 0) *args.plan.header = header;
  __syncthreads();
  if (i < args.plan.opening_count) write_opening(args, header, i);
}

}  // namespace fieldprint::cuda
