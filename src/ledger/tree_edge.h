// The right edge of a tiled tree: for each tile level the hashes of its rightmost, partial tile.
// Enough to append, to know the root, and to write every tile that growing completes.
//
//   serialized := { width: 1 byte, hashes: width x 32 bytes } per level, level 0 first;
//                 the widths are the size's digits in base 256, without leading zeros
//
// Value type.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/error.h"
#include "merkle/hash.h"
#include "merkle/tile.h"

namespace fieldprint {

class TreeEdge {
 public:
  // Told of a tile when it becomes full.
  using TileSink = std::function<Status(const TileId&, std::span<const Digest256>)>;

  TreeEdge() = default;
  // Errors: ledger_corrupt (the bytes do not belong to a tree of this size).
  static Result<TreeEdge> parse(std::uint64_t size, std::span<const std::uint8_t> bytes);
  std::vector<std::uint8_t> serialize() const;

  // Errors: the sink's; the edge is then in no defined state.
  Status append(const Digest256& leaf, const TileSink& sink);

  std::uint64_t size() const { return size_; }
  Digest256 root() const;
  // Partial tiles, level 0 first; a level whose tile is empty has no hashes.
  const std::vector<std::vector<Digest256>>& levels() const { return levels_; }

 private:
  std::uint64_t size_ = 0;
  std::vector<std::vector<Digest256>> levels_;
};

// Hash of the perfect subtree over 2^k hashes.
Digest256 perfect_root(std::span<const Digest256> hashes);

}  // namespace fieldprint
