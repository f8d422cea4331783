// The right edge of a growing tree: all that is needed to append and to know the root.
//
// A tree of n leaves is kept as the roots ("peaks") of its perfect subtrees, one per set bit
// of n, largest first. Appending is O(1) on average, the root O(log n). Value type; const use
// from any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/error.h"
#include "merkle/hash.h"

namespace fieldprint {

class CompactRange {
 public:
  // Told of every perfect subtree when it becomes complete, the leaf itself (level 0) first.
  using NodeSink = std::function<void(NodeId, const Digest256&)>;

  CompactRange() = default;
  // Errors: merkle_range_invalid (wrong number of peaks, size over kMaxTreeSize).
  static Result<CompactRange> restore(std::uint64_t size, std::vector<Digest256> peaks);

  // The tree must stay within kMaxTreeSize.
  void append(const Digest256& leaf, const NodeSink& sink = {});

  std::uint64_t size() const { return size_; }
  const std::vector<Digest256>& peaks() const { return peaks_; }
  Digest256 root() const;

 private:
  std::uint64_t size_ = 0;
  std::vector<Digest256> peaks_;
};

// The perfect subtrees that the leaves [begin, begin + count) consist of, left to right.
// begin must be a multiple of the largest power of two <= count.
std::vector<NodeId> range_nodes(std::uint64_t begin, std::uint64_t count);

// Root over such subtrees, given left to right; at least one.
Digest256 fold_nodes(std::span<const Digest256> nodes);

}  // namespace fieldprint
