#include "merkle/tile.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <map>

namespace fieldprint {
namespace {

TileId hashes(int level, std::uint64_t index, int width = kTileWidth) {
  return {TileKind::kHashes, level, index, width};
}

TEST(TilePath, Known) {
  const std::pair<TileId, const char*> known[] = {
      {hashes(0, 0), "tile/0/000"},
      {hashes(0, 1, 5), "tile/0/001.p/5"},
      {hashes(5, 999), "tile/5/999"},
      {hashes(5, 1000), "tile/5/x001/000"},
      {hashes(63, 1234067), "tile/63/x001/x234/067"},
      {hashes(1, 1234067, 255), "tile/1/x001/x234/067.p/255"},
      {{TileKind::kEntries, 0, 273, 112}, "tile/entries/273.p/112"},
      {{TileKind::kEntries, 0, 1000, 256}, "tile/entries/x001/000"},
      {hashes(0, kMaxTreeSize), "tile/0/x009/x223/x372/x036/x854/x775/807"}};
  for (const auto& [tile, path] : known) {
    EXPECT_EQ(tile_path(tile), path);
    const auto parsed = parse_tile_path(path);
    ASSERT_TRUE(parsed) << path;
    EXPECT_EQ(*parsed, tile);
  }
}

TEST(TilePath, Refused) {
  for (const char* path : {"",
                           "tile",
                           "tile/",
                           "tile/0",
                           "tile/0/",
                           "tile/0/0",
                           "tile/0/00",
                           "tile/0/0000",
                           "tile/00/000",
                           "tile/01/000",
                           "tile/64/000",
                           "tile/-1/000",
                           "tile/0/x000/001",
                           "tile/0/001/002",
                           "tile/0/x001/02",
                           "tile/0/x01/002",
                           "tile/0/x001",
                           "tile/0/x001/x002",
                           "tile/0/000.p",
                           "tile/0/000.p/",
                           "tile/0/000.p/0",
                           "tile/0/000.p/256",
                           "tile/0/000.p/01",
                           "tile/0/000.p/1/",
                           "tile/0/000.p/1.p/1",
                           "tile/0/000 ",
                           " tile/0/000",
                           "/tile/0/000",
                           "tile/0/../000",
                           "tile//000",
                           "tile/0//000",
                           "tile/entries",
                           "tile/entries/",
                           "tile/entries/0/000",
                           "tile/entries/x000/000",
                           "tile/data/000",
                           "tile/0/x9x9/000",
                           "tile/8/0/000",
                           "tile/0/x009/x223/x372/x036/x854/x775/808",
                           "Tile/0/000",
                           "tile/0/000\n"}) {
    const auto tile = parse_tile_path(path);
    ASSERT_FALSE(tile) << path;
    EXPECT_EQ(tile.error().code, "tile_path_invalid");
  }
  EXPECT_FALSE(parse_tile_path(std::string_view("tile/0/000\0", 11)));
  EXPECT_FALSE(parse_tile_path("tile/0/" + std::string(1000, 'x')));
}

RC_GTEST_PROP(TilePath, PrintsAndReads, ()) {
  TileId tile;
  tile.kind = *rc::gen::element(TileKind::kHashes, TileKind::kEntries);
  tile.level = tile.kind == TileKind::kEntries ? 0 : *rc::gen::inRange(0, 64);
  tile.index = *rc::gen::oneOf(rc::gen::inRange<std::uint64_t>(0, 2000000),
                               rc::gen::inRange<std::uint64_t>(0, kMaxTreeSize));
  tile.width = *rc::gen::inRange(1, 257);
  RC_ASSERT(*parse_tile_path(tile_path(tile)) == tile);
}

// The example of the specification: a tree of 70,000.
TEST(TileWidth, SeventyThousand) {
  EXPECT_EQ(tile_width(0, 272, 70000), 256);
  EXPECT_EQ(tile_width(0, 273, 70000), 112);
  EXPECT_EQ(tile_width(0, 274, 70000), 0);
  EXPECT_EQ(tile_width(1, 0, 70000), 256);
  EXPECT_EQ(tile_width(1, 1, 70000), 17);
  EXPECT_EQ(tile_width(2, 0, 70000), 1);
  EXPECT_EQ(tile_width(3, 0, 70000), 0);
  EXPECT_EQ(tile_width(0, 0, 256), 256);
  EXPECT_EQ(tile_width(0, 1, 256), 0);
  EXPECT_EQ(tile_width(1, 0, 256), 1);
  EXPECT_EQ(tile_width(1, 0, 255), 0);
  EXPECT_EQ(tile_width(7, 0, kMaxTreeSize), 127);
  EXPECT_EQ(tile_width(8, 0, kMaxTreeSize), 0);
  EXPECT_EQ(tile_width(63, 0, kMaxTreeSize), 0);
}

TEST(GrownTiles, FromNothing) {
  const std::vector<TileId> tiles = grown_tiles(0, 70000);
  EXPECT_EQ(tiles.size(), 273U + 1 + 1 + 1 + 1);
  EXPECT_EQ(tiles.front(), hashes(0, 0));
  EXPECT_EQ(tiles.back(), hashes(2, 0, 1));
  EXPECT_TRUE(grown_tiles(5, 5).empty());
  EXPECT_TRUE(grown_tiles(6, 5).empty());
}

// Growing in steps writes, in the end, every tile that growing at once writes.
RC_GTEST_PROP(GrownTiles, StepsAddUp, ()) {
  const auto steps =
      *rc::gen::container<std::vector<std::uint64_t>>(5, rc::gen::inRange<std::uint64_t>(0, 70000));
  std::uint64_t size = 0;
  std::map<std::pair<int, std::uint64_t>, int> widths;
  for (const std::uint64_t step : steps) {
    for (const TileId& tile : grown_tiles(size, size + step)) {
      RC_ASSERT(tile.width > widths[std::pair(tile.level, tile.index)]);
      widths[std::pair(tile.level, tile.index)] = tile.width;
    }
    size += step;
  }
  const std::vector<TileId> at_once = grown_tiles(0, size);
  RC_ASSERT(at_once.size() == widths.size());
  for (const TileId& tile : at_once) {
    RC_ASSERT(widths[std::pair(tile.level, tile.index)] == tile.width);
    RC_ASSERT(tile_width(tile.level, tile.index, size) == tile.width);
  }
}

TEST(PlaceOf, NodesBetweenTileLevels) {
  const auto is = [](NodePlace p, int level, std::uint64_t index, int first, int count) {
    return p.level == level && p.index == index && p.first == first && p.count == count;
  };
  EXPECT_TRUE(is(place_of({0, 300}), 0, 1, 44, 1));
  EXPECT_TRUE(is(place_of({7, 3}), 0, 1, 128, 128));
  EXPECT_TRUE(is(place_of({8, 3}), 1, 0, 3, 1));
  EXPECT_TRUE(is(place_of({9, 128}), 1, 1, 0, 2));
}

}  // namespace
}  // namespace fieldprint
