// Nodes out of tiles: the NodeReader of a log kept as C2SP tiles.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "merkle/proof_builder.h"
#include "merkle/tile.h"

namespace fieldprint {

// Where the bytes of tiles come from: files, a table, HTTP.
class TileSource {
 public:
  virtual ~TileSource() = default;
  // The bytes of a tile of exactly this width, or of a wider one with the same index, whose
  // first hashes are the same. Errors: its own.
  virtual Result<std::string> read_tile(const TileId& tile) = 0;
};

// Reads one tree size. Tiles are kept with all their inner nodes, the least recently used ones
// leave first; 16 KiB each. Does not check hashes against a root: a proof made from wrong
// tiles does not verify. One thread at a time.
class TileNodeReader : public NodeReader {
 public:
  TileNodeReader(TileSource& source, std::uint64_t size, std::size_t max_tiles = 1024);

  // Errors: tile_size (bytes do not fit the width), tile_missing_node (not in this tree),
  // the source's.
  Result<std::vector<Digest256>> read_nodes(std::span<const NodeId> ids) override;

  std::uint64_t size() const { return size_; }
  // For a log that has grown: full tiles stay, partial ones are read again when needed.
  void set_size(std::uint64_t size);

 private:
  using Key = std::pair<int, std::uint64_t>;  // level, index
  // rows[k] holds the nodes k levels above the tile's own hashes.
  struct Tile {
    int width = 0;
    std::vector<std::vector<Digest256>> rows;
    std::list<Key>::iterator age;
  };
  Result<const Tile*> tile(const Key& key);

  TileSource& source_;
  std::uint64_t size_;
  std::size_t max_tiles_;
  std::map<Key, Tile> tiles_;
  std::list<Key> ages_;  // most recently used first
};

}  // namespace fieldprint
