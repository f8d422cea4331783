#include "merkle/tile_reader.h"

#include <gtest/gtest.h>

#include "merkle/proof.h"
#include "merkle/trees.h"

namespace fieldprint {
namespace {

constexpr std::uint64_t kSize = 66000;  // three levels of tiles, partial on each

// A log of kSize leaves whose tiles are cut to any width asked for.
class MemoryTiles : public TileSource {
 public:
  MemoryTiles() {
    for (std::uint64_t i = 0; i < kSize; ++i) {
      range_.append(leaf_hash(std::to_string(i)), [this](NodeId id, const Digest256& hash) {
        if (id.level % kTileHeight == 0) levels_[id.level / kTileHeight].push_back(hash);
      });
      roots_.push_back(range_.root());
    }
  }
  Result<std::string> read_tile(const TileId& tile) override {
    ++reads;
    if (broken) return fail(ErrorKind::kIo, "io_read", "no");
    const std::vector<Digest256>& level = levels_[tile.level];
    const std::size_t begin = tile.index * kTileWidth;
    std::size_t end = begin + static_cast<std::size_t>(tile.width);
    if (wider) end = std::min(begin + kTileWidth, level.size());
    std::string bytes;
    for (std::size_t i = begin; i < end; ++i) bytes.append(level[i].begin(), level[i].end());
    bytes.resize(bytes.size() - cut + extra);
    return bytes;
  }
  Digest256 root(std::uint64_t size) const { return size == 0 ? empty_root() : roots_[size - 1]; }

  int reads = 0;
  bool broken = false;
  bool wider = false;
  std::size_t cut = 0, extra = 0;

 private:
  CompactRange range_;
  std::map<int, std::vector<Digest256>> levels_;
  std::vector<Digest256> roots_;
};

class TileReader : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { tiles_ = new MemoryTiles; }
  static void TearDownTestSuite() { delete tiles_; }
  void SetUp() override {
    tiles_->reads = 0;
    tiles_->broken = tiles_->wider = false;
    tiles_->cut = tiles_->extra = 0;
  }
  static MemoryTiles* tiles_;
};
MemoryTiles* TileReader::tiles_ = nullptr;

const std::uint64_t kSizes[] = {1, 2, 3, 255, 256, 257, 511, 512, 1000, 65535, 65536, 65537, kSize};

TEST_F(TileReader, RootsAndProofsOfManySizes) {
  for (const std::uint64_t size : kSizes) {
    TileNodeReader reader(*tiles_, size);
    ASSERT_EQ(*tree_root(size, reader), tiles_->root(size)) << size;
    for (const std::uint64_t index : {std::uint64_t{0}, size / 3, size / 2, size - 1}) {
      const auto proof = make_inclusion_proof(index, size, reader);
      ASSERT_TRUE(proof) << proof.error().message;
      EXPECT_TRUE(check_inclusion(index, size, leaf_hash(std::to_string(index)), *proof,
                                  tiles_->root(size)));
    }
    for (const std::uint64_t old : kSizes) {
      if (old > size) break;
      const auto proof = make_consistency_proof(old, size, reader);
      ASSERT_TRUE(proof) << proof.error().message;
      EXPECT_TRUE(check_consistency(old, size, *proof, tiles_->root(old), tiles_->root(size)));
    }
  }
}

TEST_F(TileReader, KeepsAFewTilesAndTakesWiderOnes) {
  TileNodeReader reader(*tiles_, 65536, 2);
  for (int round = 0; round < 3; ++round) {
    for (std::uint64_t index = 0; index < 2000; index += 100) {
      ASSERT_TRUE(make_inclusion_proof(index, 65536, reader));
    }
  }
  EXPECT_GT(tiles_->reads, 20);  // eight leaf tiles do not fit into two places
  tiles_->reads = 0;
  TileNodeReader roomy(*tiles_, 65536, 64);
  for (int round = 0; round < 3; ++round) {
    for (std::uint64_t index = 0; index < 2000; index += 100) {
      ASSERT_TRUE(make_inclusion_proof(index, 65536, roomy));
    }
  }
  EXPECT_EQ(tiles_->reads, 8 + 1);
  tiles_->wider = true;
  TileNodeReader small(*tiles_, 1000);
  EXPECT_EQ(*tree_root(1000, small), tiles_->root(1000));
}

TEST_F(TileReader, GrowsWithTheLog) {
  TileNodeReader reader(*tiles_, 300);
  EXPECT_EQ(*tree_root(300, reader), tiles_->root(300));
  reader.set_size(700);
  EXPECT_EQ(*tree_root(700, reader), tiles_->root(700));
  reader.set_size(300);
  EXPECT_EQ(*tree_root(300, reader), tiles_->root(300));
}

TEST_F(TileReader, NamesWhatIsWrong) {
  TileNodeReader reader(*tiles_, 300);
  const NodeId beyond[] = {{0, 300}};
  EXPECT_EQ(reader.read_nodes(beyond).error().code, "tile_missing_node");
  const NodeId far[] = {{0, 100000}};
  EXPECT_EQ(reader.read_nodes(far).error().code, "tile_missing_node");
  const NodeId partial[] = {{6, 4}};  // leaves 256..319, of which 300.. are not there
  EXPECT_EQ(reader.read_nodes(partial).error().code, "tile_missing_node");
  TileNodeReader fresh(*tiles_, 300);
  tiles_->cut = 1;
  EXPECT_EQ(tree_root(300, fresh).error().code, "tile_size");
  tiles_->cut = 32;
  EXPECT_EQ(tree_root(300, fresh).error().code, "tile_size");
  tiles_->cut = 0;
  tiles_->extra = 1;
  EXPECT_EQ(tree_root(300, fresh).error().code, "tile_size");
  tiles_->extra = 0;
  tiles_->broken = true;
  EXPECT_EQ(tree_root(300, fresh).error().code, "io_read");
}

}  // namespace
}  // namespace fieldprint
