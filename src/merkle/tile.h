// Tiles of a log: coordinates and paths of C2SP tlog-tiles, height 8.
//
//   path  = "tile/" level "/" index [ ".p/" width ]        hashes
//         | "tile/entries/" index [ ".p/" width ]          entry bundles
//   level = 0..63; width = 1..255; no leading zeros
//   index = *( "x" 3DIGIT "/" ) 3DIGIT                     1234067 = x001/x234/067
// One tile has one path: a leading x000 is refused.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "merkle/hash.h"

namespace fieldprint {

inline constexpr int kTileHeight = 8;
inline constexpr int kTileWidth = 256;
inline constexpr std::size_t kHashBytes = 32;
inline constexpr std::size_t kFullTileBytes = kTileWidth * kHashBytes;
inline constexpr int kMaxTileLevel = 63;

enum class TileKind : std::uint8_t { kHashes, kEntries };

struct TileId {
  TileKind kind = TileKind::kHashes;
  int level = 0;  // 0 for entry bundles
  std::uint64_t index = 0;
  int width = kTileWidth;  // 1..256; below 256 the tile is partial

  bool full() const { return width == kTileWidth; }
  friend bool operator==(const TileId&, const TileId&) = default;
};

// Relative to the log's prefix, e.g. "tile/0/x001/067.p/12".
std::string tile_path(const TileId& tile);

// Errors: tile_path_invalid. Accepts nothing that tile_path would not print.
Result<TileId> parse_tile_path(std::string_view path);

// Hashes in tile `index` of `level` in a tree of `size` leaves: 0..256.
int tile_width(int level, std::uint64_t index, std::uint64_t size);

// The hash tiles that a tree of new_size has and one of old_size had not, or narrower: what to
// write when a log grows. From level 0 upward, partial ones last in their level.
std::vector<TileId> grown_tiles(std::uint64_t old_size, std::uint64_t new_size);

// The tile that holds what is needed for a node, and the leaves of that tile which it covers:
// tile hashes [first, first + count). A node on level 8k is one hash of a tile.
struct NodePlace {
  int level;
  std::uint64_t index;
  int first;
  int count;
};
NodePlace place_of(const NodeId& node);

}  // namespace fieldprint
