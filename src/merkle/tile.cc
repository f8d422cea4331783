#include "merkle/tile.h"

#include <algorithm>
#include <array>

#include "core/check.h"
#include "merkle/text.h"

namespace fieldprint {
namespace {

constexpr std::string_view kRoot = "tile/";
constexpr std::string_view kEntries = "entries/";
constexpr std::string_view kPartial = ".p/";
constexpr std::size_t kMaxPath = 64;

std::string three_digits(std::uint64_t value) {
  std::string text = "000";
  for (std::size_t i = 3; i > 0; --i, value /= 10)
    text[i - 1] = static_cast<char>('0' + value % 10);
  return text;
}

std::string index_path(std::uint64_t index) {
  std::string path = three_digits(index % 1000);
  for (index /= 1000; index > 0; index /= 1000)
    path.insert(0, "x" + three_digits(index % 1000) + "/");
  return path;
}

tl::unexpected<Error> invalid(std::string_view path) {
  return fail(ErrorKind::kInvalid, "tile_path_invalid",
              path.size() > kMaxPath ? "a tile path is too long"
                                     : "this is no tile path of the form tile/L/N[.p/W]");
}

// Digits of all groups joined; whether the groups are in their one form shows on printing.
bool read_index(std::string_view text, std::uint64_t& index) {
  std::string digits;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] >= '0' && text[i] <= '9') digits += text[i];
  }
  digits.erase(0, std::min(digits.find_first_not_of('0'), digits.size() - 1));
  return !digits.empty() && parse_decimal(digits, index);
}

}  // namespace

std::string tile_path(const TileId& tile) {
  FP_CHECK(tile.width >= 1 && tile.width <= kTileWidth);
  FP_CHECK(tile.level >= 0 && tile.level <= kMaxTileLevel);
  std::string path(kRoot);
  path +=
      tile.kind == TileKind::kEntries ? std::string(kEntries) : std::to_string(tile.level) + "/";
  path += index_path(tile.index);
  if (!tile.full()) path += std::string(kPartial) + std::to_string(tile.width);
  return path;
}

Result<TileId> parse_tile_path(std::string_view path) {
  std::string_view rest = path;
  if (path.size() > kMaxPath || !rest.starts_with(kRoot)) return invalid(path);
  rest.remove_prefix(kRoot.size());
  TileId tile;
  std::uint64_t number = 0;
  if (rest.starts_with(kEntries)) {
    tile.kind = TileKind::kEntries;
    rest.remove_prefix(kEntries.size());
  } else {
    const std::size_t slash = std::min(rest.find('/'), rest.size());
    if (!parse_decimal(rest.substr(0, slash), number) || number > kMaxTileLevel) {
      return invalid(path);
    }
    tile.level = static_cast<int>(number);
    rest.remove_prefix(std::min(slash + 1, rest.size()));
  }
  const std::size_t partial = rest.find(kPartial);
  if (partial != std::string_view::npos) {
    if (!parse_decimal(rest.substr(partial + kPartial.size()), number) || number < 1 ||
        number >= kTileWidth) {
      return invalid(path);
    }
    tile.width = static_cast<int>(number);
    rest = rest.substr(0, partial);
  }
  if (!read_index(rest, tile.index) || tile_path(tile) != path) return invalid(path);
  return tile;
}

int tile_width(int level, std::uint64_t index, std::uint64_t size) {
  if (level * kTileHeight >= 64) return 0;
  const std::uint64_t hashes = size >> (level * kTileHeight);
  if (index > hashes / kTileWidth) return 0;
  return static_cast<int>(std::min<std::uint64_t>(kTileWidth, hashes - index * kTileWidth));
}

std::vector<TileId> grown_tiles(std::uint64_t old_size, std::uint64_t new_size) {
  std::vector<TileId> tiles;
  if (new_size <= old_size) return tiles;
  for (int level = 0; level * kTileHeight < 64; ++level) {
    const std::uint64_t before = old_size >> (level * kTileHeight);
    const std::uint64_t after = new_size >> (level * kTileHeight);
    if (before == after) break;  // nothing grew here, nor above
    for (std::uint64_t index = before / kTileWidth; index * kTileWidth < after; ++index) {
      tiles.push_back({TileKind::kHashes, level, index, tile_width(level, index, new_size)});
    }
  }
  return tiles;
}

NodePlace place_of(const NodeId& node) {
  const int tile_level = node.level / kTileHeight;
  const int above = node.level % kTileHeight;  // levels over the tile's own hashes
  const std::uint64_t first = node.index << above;
  return {tile_level, first / kTileWidth, static_cast<int>(first % kTileWidth), 1 << above};
}

}  // namespace fieldprint
