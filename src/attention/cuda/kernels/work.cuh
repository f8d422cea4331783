// Work of a decode CTA: from a ticket number to the pages it has to read. One warp.
//
// Three steps, so that each memory latency hides behind the item before:
// describe (list entry), fetch (page-table entry of this lane), resolve (masks).
#pragma once

#include "attention/cuda/kernels/params.cuh"

namespace fieldprint::cuda {

enum class WorkKind : int {
  kNone,
  kLeaf,    // one sequence, up to four chunks of its context, or its anchor
  kAnchor,  // one chunk of an anchor, for several sequences
  kChunk,   // one chunk of a context (split steps)
};

// The order of tickets 0..total-1. Few anchor items come last, where they fill the gaps that
// leaves leave. Many come in bursts, each before the leaves of the sequences it serves, every
// second ticket: their arithmetic overlaps with the leaves' memory traffic, and no sequence
// waits for its anchor at the end. Neighbouring tickets differ in the KV head only.
struct Agenda {
  int leaves;   // entries of leaf_list x KV heads
  int anchors;  // entries of anchor_list x KV heads
  int burst;    // anchor tickets per burst
  int segment;  // tickets from one burst to the next
  bool last;    // all anchors after all leaves
  WorkKind leaf_kind;

  Agenda() = default;
  __device__ __forceinline__ Agenda(const PlanHeader& header, int kv_heads, int few_anchors)
      : leaves(header.leaf_items * kv_heads),
        anchors(header.anchor_items * kv_heads),
        burst(kMaxAnchorChunks * kv_heads),
        last(anchors <= few_anchors),
        leaf_kind(header.split != 0 ? WorkKind::kChunk : WorkKind::kLeaf) {
    const int bursts = (anchors + burst - 1) / burst;
    segment = bursts == 0 ? 1 : (leaves + anchors) / bursts;
    if (segment >= 2 * burst) return;
    burst = anchors;  // many anchors, short contexts: all anchors first
    segment = leaves + anchors;
  }

  // Anchor tickets before `ticket`; `is_anchor` says whether it is one itself.
  __device__ __forceinline__ int anchors_before(int ticket, bool& is_anchor) const {
    if (last) {
      is_anchor = ticket >= leaves;
      return max(ticket - leaves, 0);
    }
    const int turn = ticket / segment;
    const int offset = ticket - turn * segment;
    const int every = burst == anchors && segment < 2 * burst ? 1 : 2;
    const int before = turn * burst + min((offset + every - 1) / every, burst);
    is_anchor = offset % every == 0 && offset / every < burst && before < anchors;
    return min(before, anchors);
  }
};

struct Work {
  WorkKind kind = WorkKind::kNone;
  int kv_head = 0;
  int4 item = {0, 0, 0, 0};  // LeafItem or AnchorItem
  std::uint32_t entry = 0;   // this lane's page-table entry
  bool fetched = false;
  bool resolved = false;
  // After resolve(): lane i speaks of slab i of the leaf or of the chunk.
  std::int32_t row = 0;  // first row of the slab in the pool's [page][head][row] order
  int valid = 0;         // rows present, 0..16
  int cls = 0;
  std::uint32_t slabs = 0;  // bit i: slab i has rows

  __device__ __forceinline__ void describe(const PlanView& plan, const ShapeView& shape,
                                           const Agenda& agenda, int ticket) {
    fetched = resolved = false;
    kind = WorkKind::kNone;
    if (ticket >= agenda.leaves + agenda.anchors) return;
    bool anchor = false;
    const int anchors_before = agenda.anchors_before(ticket, anchor);
    const int index = anchor ? anchors_before : ticket - anchors_before;
    const int entry_index = index / shape.kv_heads;
    kv_head = index - entry_index * shape.kv_heads;
    const int4* list = anchor ? reinterpret_cast<const int4*>(plan.anchor_list)
                              : reinterpret_cast<const int4*>(plan.leaf_list);
    item = list[entry_index];
    const bool leaf = !anchor && (item.x & kAnchorLeaf) != 0;
    kind = anchor ? WorkKind::kAnchor : leaf ? WorkKind::kLeaf : agenda.leaf_kind;
  }

  // The same from the planner's table of first tickets.
  __device__ __forceinline__ void open(const PlanView& plan, int ticket) {
    const int4* opening = reinterpret_cast<const int4*>(plan.openings + ticket);
    const int4 head = __ldg(opening);
    item = __ldg(opening + 1);
    kind = static_cast<WorkKind>(head.x);
    kv_head = head.y;
  }

  // `item`, where the compiler cannot move its use before the caller's branch: it would
  // wait for the load there.
  __device__ __forceinline__ int4 arrived_item() const {
    int4 copy = item;
    asm volatile("" : "+r"(copy.x), "+r"(copy.y), "+r"(copy.z), "+r"(copy.w));
    return copy;
  }

  // Whether the rows are an anchor's.
  __device__ __forceinline__ bool anchored(const int4& of) const {
    return kind == WorkKind::kAnchor || (kind == WorkKind::kLeaf && (of.x & kAnchorLeaf) != 0);
  }
  __device__ __forceinline__ int anchor(const int4& of) const {
    return kind == WorkKind::kAnchor ? of.x : of.y;
  }

  // Where the item's slabs lie: a table, its first page, and how many pages there are.
  struct Place {
    const std::uint32_t* table;
    int pages;
    int hidden;  // slots before the window
  };
  __device__ __forceinline__ Place place(const DecodeArgs& args, const int4& of) const {
    const TableView& t = args.table;
    if (kind == WorkKind::kAnchor) {
      const int first = (of.y & 0xFF) * (kChunkSlabs >> args.shape.log2_slabs_per_page);
      return {t.anchor_pages + static_cast<std::size_t>(of.x) * t.anchor_stride + first, of.y >> 8,
              0};
    }
    const int pages = of.z & 0xFFFF;
    const int hidden = of.z >> 16;
    if (anchored(of)) {
      return {t.anchor_pages + static_cast<std::size_t>(of.y) * t.anchor_stride, pages, hidden};
    }
    return {t.pages + static_cast<std::size_t>(of.x & kSequenceMask) * t.page_stride + of.y, pages,
            hidden};
  }

  __device__ __forceinline__ void fetch(const DecodeArgs& args) {
    if (fetched || kind == WorkKind::kNone) return;
    fetched = true;
    const int lane = threadIdx.x & 31;
    const int page = lane >> args.shape.log2_slabs_per_page;
    const int lanes = kind == WorkKind::kLeaf ? kLeafSlots / kSlabRows : kChunkSlabs;
    const Place from = place(args, arrived_item());
    const bool mine =
        lane < lanes && page < from.pages && lane * kSlabRows + kSlabRows > from.hidden;
    entry = mine ? __ldg(from.table + page) : 0U;
    valid = mine ? kSlabRows : 0;
  }

  __device__ __forceinline__ void resolve(const DecodeArgs& args) {
    if (resolved || kind == WorkKind::kNone) return;
    fetch(args);
    resolved = true;
    const int log2_slabs = args.shape.log2_slabs_per_page;
    const int slab_in_page = (threadIdx.x & 31) & ((1 << log2_slabs) - 1);
    std::uint32_t packed = entry;
    asm volatile("" : "+r"(packed));  // as in arrived_item()
    const int rows = static_cast<int>(packed & 63U) + 1;
    const int page = static_cast<int>(packed >> 9);
    if (valid > 0 && page >= args.shape.page_count) {
      atomicOr(&args.plan.header->status, kPlanBadPageId);
    }
    valid = min(valid, max(rows - slab_in_page * kSlabRows, 0));
    cls = static_cast<int>((packed >> 6) & 7U);
    row = (((page * args.shape.kv_heads + kv_head) << log2_slabs) + slab_in_page) * kSlabRows;
    slabs = __ballot_sync(~0U, valid > 0);
  }
};

}  // namespace fieldprint::cuda
