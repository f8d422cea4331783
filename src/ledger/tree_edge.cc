#include "ledger/tree_edge.h"

#include <algorithm>
#include <bit>

#include "core/check.h"
#include "merkle/compact_range.h"

namespace fieldprint {
namespace {

constexpr std::size_t kWidth = kTileWidth;

std::size_t digit(std::uint64_t size, std::size_t level) {
  return static_cast<std::size_t>(size >> (level * kTileHeight)) % kWidth;
}

tl::unexpected<Error> corrupt() {
  return fail(ErrorKind::kCorrupt, "ledger_corrupt",
              "ledger.db: the stored edge of the tree does not fit its size; run 'ledger fsck'");
}

}  // namespace

Digest256 perfect_root(std::span<const Digest256> hashes) {
  FP_CHECK(std::has_single_bit(hashes.size()));
  std::vector<Digest256> row(hashes.begin(), hashes.end());
  while (row.size() > 1) {
    for (std::size_t i = 0; i < row.size() / 2; ++i) row[i] = node_hash(row[2 * i], row[2 * i + 1]);
    row.resize(row.size() / 2);
  }
  return row[0];
}

Result<TreeEdge> TreeEdge::parse(std::uint64_t size, std::span<const std::uint8_t> bytes) {
  TreeEdge edge;
  edge.size_ = size;
  for (std::size_t level = 0; size >> (level * kTileHeight) != 0; ++level) {
    if (bytes.empty() || bytes[0] != digit(size, level)) return corrupt();
    const std::size_t width = bytes[0];
    bytes = bytes.subspan(1);
    if (bytes.size() < width * kHashBytes) return corrupt();
    std::vector<Digest256>& hashes = edge.levels_.emplace_back(width);
    for (Digest256& hash : hashes) {
      std::copy_n(bytes.begin(), kHashBytes, hash.begin());
      bytes = bytes.subspan(kHashBytes);
    }
    if (level + 1 == 64 / kTileHeight) break;
  }
  if (!bytes.empty()) return corrupt();
  return edge;
}

std::vector<std::uint8_t> TreeEdge::serialize() const {
  std::vector<std::uint8_t> bytes;
  for (const std::vector<Digest256>& hashes : levels_) {
    bytes.push_back(static_cast<std::uint8_t>(hashes.size()));
    for (const Digest256& hash : hashes) bytes.insert(bytes.end(), hash.begin(), hash.end());
  }
  return bytes;
}

Status TreeEdge::append(const Digest256& leaf, const TileSink& sink) {
  FP_CHECK(size_ < kMaxTreeSize);
  Digest256 hash = leaf;
  ++size_;
  for (std::size_t level = 0;; ++level) {
    if (level == levels_.size()) levels_.emplace_back();
    std::vector<Digest256>& tile = levels_[level];
    tile.push_back(hash);
    if (tile.size() < kWidth) return {};
    const std::uint64_t index = (size_ >> ((level + 1) * kTileHeight)) - 1;
    FP_TRY(sink(TileId{TileKind::kHashes, static_cast<int>(level), index, kTileWidth}, tile));
    hash = perfect_root(tile);
    tile.clear();
  }
}

Digest256 TreeEdge::root() const {
  if (size_ == 0) return empty_root();
  std::vector<Digest256> nodes;
  for (auto level = levels_.rbegin(); level != levels_.rend(); ++level) {
    std::span<const Digest256> rest = *level;
    while (!rest.empty()) {
      const std::size_t count = std::bit_floor(rest.size());
      nodes.push_back(perfect_root(rest.first(count)));
      rest = rest.subspan(count);
    }
  }
  return fold_nodes(nodes);
}

}  // namespace fieldprint
