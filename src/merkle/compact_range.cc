#include "merkle/compact_range.h"

#include <bit>
#include <utility>

#include "core/check.h"

namespace fieldprint {

Result<CompactRange> CompactRange::restore(std::uint64_t size, std::vector<Digest256> peaks) {
  if (size > kMaxTreeSize || peaks.size() != static_cast<std::size_t>(std::popcount(size))) {
    return fail(ErrorKind::kCorrupt, "merkle_range_invalid",
                "a tree of " + std::to_string(size) + " leaves is not made of " +
                    std::to_string(peaks.size()) + " perfect subtrees");
  }
  CompactRange range;
  range.size_ = size;
  range.peaks_ = std::move(peaks);
  return range;
}

void CompactRange::append(const Digest256& leaf, const NodeSink& sink) {
  FP_CHECK(size_ < kMaxTreeSize);
  NodeId id{0, size_};
  Digest256 hash = leaf;
  if (sink) sink(id, hash);
  // Each trailing one bit of the size is a subtree that finds its sibling now.
  for (; (id.index & 1) != 0; id = {id.level + 1, id.index >> 1}) {
    hash = node_hash(peaks_.back(), hash);
    peaks_.pop_back();
    if (sink) sink({id.level + 1, id.index >> 1}, hash);
  }
  peaks_.push_back(hash);
  ++size_;
}

Digest256 CompactRange::root() const { return size_ == 0 ? empty_root() : fold_nodes(peaks_); }

std::vector<NodeId> range_nodes(std::uint64_t begin, std::uint64_t count) {
  std::vector<NodeId> nodes;
  while (count > 0) {
    const int level = static_cast<int>(std::bit_width(count)) - 1;
    const std::uint64_t width = std::uint64_t{1} << level;
    FP_CHECK(begin % width == 0);
    nodes.push_back({level, begin >> level});
    begin += width;
    count -= width;
  }
  return nodes;
}

Digest256 fold_nodes(std::span<const Digest256> nodes) {
  FP_CHECK(!nodes.empty());
  Digest256 hash = nodes.back();
  for (std::size_t i = nodes.size() - 1; i > 0; --i) hash = node_hash(nodes[i - 1], hash);
  return hash;
}

}  // namespace fieldprint
