#include "attention/cpu/work_list.h"

#include <algorithm>

#include "core/check.h"

namespace fieldprint {
namespace {

// Rows of a tile: enough to reuse each loaded page many times, few enough that a
// chunk of 512 queries still gives every thread several tiles. 120 divides well by
// the kernels' blocks of 6 and 4 rows.
constexpr int kTileRows = 120;
// A tile is split when it alone is more than this share of one thread's work.
constexpr int kSharesPerThread = 8;
// Partial states of a step stay under this; tiles beyond it are not split.
constexpr std::size_t kMaxPartialFloats = std::size_t{16} << 20;

void check_side(std::span<const PageEntry> pages, std::span<const Leaf> leaves) {
  std::int32_t next = 0;
  for (const Leaf& leaf : leaves) {
    FP_CHECK(leaf.first_page == next);
    FP_CHECK(leaf.page_count >= 1 && leaf.page_count <= kLeafPages);
    next += leaf.page_count;
  }
  FP_CHECK(static_cast<std::size_t>(next) == pages.size());
  for (const PageEntry& page : pages) {
    FP_CHECK(page.page >= 0 && page.rows >= 1 && page.rows <= kPageRows);
    FP_CHECK(static_cast<int>(page.cls) < kKvClasses);
  }
}

void check_plan(const SequencePlan& plan) {
  FP_CHECK(plan.query_count >= 0 && plan.first_query >= 0 && plan.first_query_pos >= 0);
  check_side(plan.pages, plan.leaves);
  check_side(plan.anchor.pages, plan.anchor.leaves);
  FP_CHECK(plan.leaves_before_anchor >= 0 &&
           static_cast<std::size_t>(plan.leaves_before_anchor) <= plan.leaves.size());
  if (plan.anchor.pages.empty()) return;
  FP_CHECK(plan.anchor.mode != AnchorMode::kGated || plan.anchor.gamma != nullptr);
  FP_CHECK(plan.anchor.beta == nullptr || static_cast<std::size_t>(plan.anchor.beta_stride) >=
                                              plan.anchor.pages.size() * kPageRows);
}

}  // namespace

WorkList::WorkList(int kv_heads, int group, int head_dim)
    : kv_heads_(kv_heads),
      group_(group),
      head_dim_(head_dim),
      tile_tokens_(std::max(1, kTileRows / group)) {}

std::size_t WorkList::state_floats(int rows) const {
  const auto per_row = static_cast<std::size_t>(head_dim_ + kKvClasses + 2);
  return (static_cast<std::size_t>(rows) * per_row + 15) / 16 * 16;
}

void WorkList::build(std::span<const SequencePlan> plans, int threads) {
  plans_.assign(plans.begin(), plans.end());
  tiles_.clear();
  items_.clear();
  counters_ = 0;
  partial_floats_ = 0;
  for (std::size_t s = 0; s < plans_.size(); ++s) {
    check_plan(plans_[s]);
    add_tiles(static_cast<int>(s));
  }
  choose_splits(threads);
  add_items();
}

void WorkList::add_tiles(int sequence) {
  const SequencePlan& plan = plans_[static_cast<std::size_t>(sequence)];
  for (int token = 0; token < plan.query_count; token += tile_tokens_) {
    QueryTile tile;
    tile.sequence = sequence;
    tile.first_token = token;
    tile.tokens = std::min(tile_tokens_, plan.query_count - token);
    const std::int32_t last_pos = plan.first_query_pos + token + tile.tokens - 1;
    tile.context_leaves = static_cast<std::int32_t>(plan.leaves.size());
    while (tile.context_leaves > 0) {
      const Leaf& leaf = plan.leaves[static_cast<std::size_t>(tile.context_leaves) - 1];
      if (plan.pages[static_cast<std::size_t>(leaf.first_page)].first_pos <= last_pos) break;
      --tile.context_leaves;
    }
    tile.before_anchor = std::min(plan.leaves_before_anchor, tile.context_leaves);
    tile.leaves = tile.context_leaves + static_cast<std::int32_t>(plan.anchor.leaves.size());
    tiles_.push_back(tile);
  }
}

LeafRef WorkList::leaf_at(const QueryTile& tile, int position) const {
  const SequencePlan& plan = plans_[static_cast<std::size_t>(tile.sequence)];
  const int anchors = static_cast<int>(plan.anchor.leaves.size());
  if (position < tile.before_anchor)
    return {false, &plan.leaves[static_cast<std::size_t>(position)]};
  position -= tile.before_anchor;
  if (position < anchors) return {true, &plan.anchor.leaves[static_cast<std::size_t>(position)]};
  position += tile.before_anchor - anchors;
  return {false, &plan.leaves[static_cast<std::size_t>(position)]};
}

void WorkList::choose_splits(int threads) {
  std::int64_t total = 0;
  for (const QueryTile& tile : tiles_) total += std::int64_t{tile.tokens} * tile.leaves * kv_heads_;
  for (QueryTile& tile : tiles_) {
    const std::int64_t whole = std::int64_t{tile.tokens} * tile.leaves;
    const std::size_t floats =
        state_floats(tile.tokens * group_) * static_cast<std::size_t>(tile.leaves * kv_heads_);
    if (tile.leaves < 2 || whole * kSharesPerThread * threads <= total ||
        partial_floats_ + floats > kMaxPartialFloats) {
      continue;
    }
    tile.split = true;
    tile.partial_offset = partial_floats_;
    partial_floats_ += floats;
    tile.counter = counters_;
    counters_ += kv_heads_;
  }
}

void WorkList::add_items() {
  for (std::size_t t = 0; t < tiles_.size(); ++t) {
    for (int g = 0; g < kv_heads_; ++g) {
      const auto index = static_cast<std::int32_t>(t);
      if (!tiles_[t].split) items_.push_back({index, g, -1});
      for (int leaf = 0; tiles_[t].split && leaf < tiles_[t].leaves; ++leaf) {
        items_.push_back({index, g, leaf});
      }
    }
  }
  // Longest first, so that the last item to start is a short one.
  const auto cost = [this](const WorkItem& item) {
    const QueryTile& tile = tiles_[static_cast<std::size_t>(item.tile)];
    return std::int64_t{tile.tokens} * (item.leaf < 0 ? std::max(tile.leaves, 1) : 1);
  };
  std::sort(items_.begin(), items_.end(), [&](const WorkItem& a, const WorkItem& b) {
    const std::int64_t ca = cost(a), cb = cost(b);
    if (ca != cb) return ca > cb;
    if (a.tile != b.tile) return a.tile < b.tile;
    return a.kv_head != b.kv_head ? a.kv_head < b.kv_head : a.leaf < b.leaf;
  });
}

}  // namespace fieldprint
