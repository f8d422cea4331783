#include "attention/cuda/workspace.h"

#include <algorithm>
#include <cstdint>

#include "attention/cuda/cutter.h"

namespace fieldprint::cuda {
ShapeView shape_view(const fp_attn_shape& shape, std::int32_t pool_pages) {
  ShapeView view{};
  view.q_heads = shape.q_heads;
  view.kv_heads = shape.kv_heads;
  view.group = shape.q_heads / shape.kv_heads;
  view.columns = view.group <= 4 ? 4 : 8;
  view.log2_slabs_per_page = shape.page_rows == 64 ? 2 : shape.page_rows / kSlabRows - 1;
  view.page_count = pool_pages;
  return view;
}

WorkspaceLayout cut_workspace(const fp_attn_shape& shape, const fp_attn_limits& limits,
                              void* data) {
  const auto batch = static_cast<std::size_t>(limits.max_batch);
  const auto pages_per_leaf = static_cast<std::size_t>(kLeafSlots / shape.page_rows);
  const auto heads = static_cast<std::size_t>(shape.kv_heads);
  // Each segment may end in a shorter leaf. In a split step a leaf has a place for each chunk.
  const std::size_t leaves =
      static_cast<std::size_t>(limits.max_total_pages) / pages_per_leaf + kSegments * batch;
  const std::size_t split_leaves = std::min(leaves, kMaxSplitLeaves / heads);
  const std::size_t units = std::max(leaves, split_leaves * kWarps);
  const std::size_t partials = units + batch * kMaxAnchorChunks;
  const auto columns = static_cast<std::size_t>(shape_view(shape, 0).columns);
  Cutter cutter(data);
  WorkspaceLayout layout{};
  layout.view.header = cutter.take<PlanHeader>(1);
  layout.view.sequences = cutter.take<SequenceInfo>(batch);
  layout.view.members = cutter.take<AnchorMember>(batch);
  layout.view.leaf_list = cutter.take<LeafItem>(units + batch);  // or the batch's anchors too
  layout.view.anchor_list = cutter.take<AnchorItem>(batch * kMaxAnchorChunks);
  layout.view.openings = cutter.take<OpeningItem>(kMaxOpenings);
  layout.view.partial_stats = cutter.take<float>(partials * heads * kStatRows * columns);
  layout.view.partial_o =
      cutter.take<float>(partials * heads * static_cast<std::size_t>(shape.head_dim) * columns);
  layout.view.max_leaves = static_cast<std::int32_t>(leaves);
  layout.view.split_leaves = static_cast<std::int32_t>(split_leaves);
  layout.bytes = cutter.bytes();
  return layout;
}

PrefillWorkspaceLayout cut_prefill_workspace(const fp_attn_shape& shape,
                                             const fp_attn_limits& limits, void* data) {
  const auto batch = static_cast<std::size_t>(limits.max_batch);
  const auto kept = static_cast<std::size_t>(shape.head_dim / 8) * kPrefillComputeThreads;
  Cutter cutter(data);
  PrefillWorkspaceLayout layout{};
  layout.view.header = cutter.take<PrefillHeader>(1);
  layout.view.ends = cutter.take<std::int32_t>(batch);
  layout.view.sequences = cutter.take<PrefillSequence>(batch);
  layout.view.anchor_o = cutter.take<float>(4 * kept * kMaxPrefillCtas);
  layout.bytes = cutter.bytes();
  return layout;
}

}  // namespace fieldprint::cuda
