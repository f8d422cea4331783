// The work of one step, cut into items that threads take one by one. Cutting decides
// speed only: the kernel and the fold give the same bits for any cut.
//
// Thread rule: build() on one thread; everything else is read-only after it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "attention/plan.h"

namespace fieldprint {

// Some consecutive queries of one sequence, with all heads of one KV head's group.
struct QueryTile {
  std::int32_t sequence = 0;
  std::int32_t first_token = 0;  // within the sequence
  std::int32_t tokens = 0;
  std::int32_t context_leaves = 0;  // a prefix of the plan's; the rest lies in the future
  std::int32_t before_anchor = 0;   // of those, how many are merged before the anchor's
  std::int32_t leaves = 0;          // context + anchor
  // Split tiles have one item per (KV head, leaf) and partial states in memory.
  bool split = false;
  std::size_t partial_offset = 0;  // floats, for KV head 0, leaf 0
  std::int32_t counter = 0;        // index of KV head 0's "leaves left" counter
};

struct WorkItem {
  std::int32_t tile = 0;
  std::int32_t kv_head = 0;
  std::int32_t leaf = -1;  // merge position, or -1: the whole tile
};

// Which leaf stands at a merge position of a tile.
struct LeafRef {
  bool is_anchor = false;
  const Leaf* leaf = nullptr;
};

class WorkList {
 public:
  // group = heads per KV head.
  WorkList(int kv_heads, int group, int head_dim);

  // Keeps views of the plans' pages and leaves. Malformed plans are bugs.
  void build(std::span<const SequencePlan> plans, int threads);

  LeafRef leaf_at(const QueryTile& tile, int position) const;

  std::span<const SequencePlan> plans() const { return plans_; }
  std::span<const QueryTile> tiles() const { return tiles_; }
  std::span<const WorkItem> items() const { return items_; }
  int counters() const { return counters_; }
  std::size_t partial_floats() const { return partial_floats_; }

  // Floats of one partial state of `rows` rows, a multiple of 16: o, cls, m, l.
  std::size_t state_floats(int rows) const;
  int max_tile_rows() const { return tile_tokens_ * group_; }

 private:
  void add_tiles(int sequence);
  void choose_splits(int threads);
  void add_items();

  int kv_heads_, group_, head_dim_, tile_tokens_;
  std::vector<SequencePlan> plans_;
  std::vector<QueryTile> tiles_;
  std::vector<WorkItem> items_;
  int counters_ = 0;
  std::size_t partial_floats_ = 0;
};

}  // namespace fieldprint
