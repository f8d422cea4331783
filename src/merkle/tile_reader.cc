#include "merkle/tile_reader.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"

namespace fieldprint {
namespace {

std::vector<std::vector<Digest256>> rows_of(std::string_view bytes, int width) {
  std::vector<std::vector<Digest256>> rows(1);
  rows[0].resize(static_cast<std::size_t>(width));
  std::memcpy(rows[0].data(), bytes.data(), rows[0].size() * kHashBytes);
  // The node above a full tile belongs to the next level's tile, not to this one.
  while (rows.back().size() > 1 && rows.size() < static_cast<std::size_t>(kTileHeight)) {
    const std::vector<Digest256>& below = rows.back();
    std::vector<Digest256> row(below.size() / 2);
    for (std::size_t i = 0; i < row.size(); ++i) row[i] = node_hash(below[2 * i], below[2 * i + 1]);
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace

TileNodeReader::TileNodeReader(TileSource& source, std::uint64_t size, std::size_t max_tiles)
    : source_(source), size_(size), max_tiles_(std::max<std::size_t>(max_tiles, 1)) {}

void TileNodeReader::set_size(std::uint64_t size) {
  for (auto it = tiles_.begin(); it != tiles_.end();) {
    if (it->second.width == kTileWidth && size >= size_) {
      ++it;
      continue;
    }
    ages_.erase(it->second.age);
    it = tiles_.erase(it);
  }
  size_ = size;
}

Result<const TileNodeReader::Tile*> TileNodeReader::tile(const Key& key) {
  if (const auto found = tiles_.find(key); found != tiles_.end()) {
    ages_.splice(ages_.begin(), ages_, found->second.age);
    return &found->second;
  }
  const auto [level, index] = key;
  const int width = tile_width(level, index, size_);
  if (width == 0) {
    return fail(ErrorKind::kInvalid, "tile_missing_node",
                "a tree of " + std::to_string(size_) + " leaves has no such tile");
  }
  const TileId id{TileKind::kHashes, level, index, width};
  FP_ASSIGN(const std::string bytes, source_.read_tile(id));
  if (bytes.size() < static_cast<std::size_t>(width) * kHashBytes ||
      bytes.size() > kFullTileBytes || bytes.size() % kHashBytes != 0) {
    return fail(ErrorKind::kCorrupt, "tile_size",
                tile_path(id) + " has " + std::to_string(bytes.size()) + " bytes, which is not " +
                    std::to_string(width) + " hashes");
  }
  if (tiles_.size() >= max_tiles_) {
    tiles_.erase(ages_.back());
    ages_.pop_back();
  }
  ages_.push_front(key);
  const auto at = tiles_.emplace(key, Tile{width, rows_of(bytes, width), ages_.begin()}).first;
  return &at->second;
}

Result<std::vector<Digest256>> TileNodeReader::read_nodes(std::span<const NodeId> ids) {
  std::vector<Digest256> nodes;
  nodes.reserve(ids.size());
  for (const NodeId& id : ids) {
    const NodePlace place = place_of(id);
    FP_ASSIGN(const Tile* const found, tile({place.level, place.index}));
    const auto row = static_cast<std::size_t>(id.level % kTileHeight);
    const auto column = static_cast<std::size_t>(place.first / place.count);
    if (row >= found->rows.size() || column >= found->rows[row].size()) {
      return fail(ErrorKind::kInvalid, "tile_missing_node",
                  "a tree of " + std::to_string(size_) + " leaves has no such subtree");
    }
    nodes.push_back(found->rows[row][column]);
  }
  return nodes;
}

}  // namespace fieldprint
