#include "ledger/tree_walk.h"

#include <algorithm>
#include <cstring>

#include "merkle/entry_bundle.h"

namespace fieldprint {
namespace {

std::string entry_name(std::uint64_t index) { return "entry " + std::to_string(index); }

// The hashes of a tile file, if it has enough of them.
std::vector<Digest256> hashes_of(std::string_view bytes, int width) {
  std::vector<Digest256> hashes;
  if (bytes.size() < static_cast<std::size_t>(width) * kHashBytes) return hashes;
  hashes.resize(static_cast<std::size_t>(width));
  std::memcpy(hashes.data(), bytes.data(), hashes.size() * kHashBytes);
  return hashes;
}

// A wider bundle than needed begins with the same entries.
Result<std::vector<std::string_view>> entries_of(std::string_view bundle, int width) {
  Result<std::vector<std::string_view>> exact = parse_entry_bundle(bundle, width);
  if (exact || width == kTileWidth) return exact;
  Result<std::vector<std::string_view>> full = parse_entry_bundle(bundle, kTileWidth);
  if (!full) return exact;
  full->resize(static_cast<std::size_t>(width));
  return full;
}

}  // namespace

void add_finding(LedgerReport& report, LedgerFinding finding) {
  if (report.findings.size() < kMaxFindings) report.findings.push_back(std::move(finding));
}

void TreeWalk::compare_tile(const TileId& id, std::span<const Digest256> hashes,
                            LedgerReport& report) {
  const Result<std::string> bytes = source_.read_tile(id);
  if (!bytes) return add_finding(report, {"tile_missing", tile_path(id), bytes.error().message});
  const std::vector<Digest256> stored = hashes_of(*bytes, id.width);
  if (!std::equal(stored.begin(), stored.end(), hashes.begin(), hashes.end()))
    add_finding(report, {"tile_mismatch", tile_path(id),
                         "its hashes are not those of the entries below it"});
}

bool TreeWalk::walk_bundle(std::uint64_t bundle, int width, const EntrySink& sink,
                           LedgerReport& report, std::vector<Digest256>& hashes) {
  const TileId entries_id{TileKind::kEntries, 0, bundle, width};
  const TileId hashes_id{TileKind::kHashes, 0, bundle, width};
  const Result<std::string> tile = source_.read_tile(hashes_id);
  const std::vector<Digest256> stored = tile ? hashes_of(*tile, width) : std::vector<Digest256>{};
  const Result<std::string> bytes = source_.read_tile(entries_id);
  const auto entries = bytes ? entries_of(*bytes, width)
                             : Result<std::vector<std::string_view>>(tl::unexpected(bytes.error()));
  if (!entries) {
    add_finding(report, {bytes ? "bundle_invalid" : "bundle_missing", tile_path(entries_id),
                         entries.error().message});
    hashes = stored;  // the tree above can still be checked
    return !stored.empty();
  }
  for (std::size_t i = 0; i < entries->size(); ++i) {
    const std::uint64_t index = bundle * kTileWidth + i;
    hashes.push_back(leaf_hash((*entries)[i]));
    if (!stored.empty() && stored[i] != hashes.back())
      add_finding(report, {"leaf_mismatch", entry_name(index),
                           "its hash is not the one in " + tile_path(hashes_id)});
    const Result<Entry> entry = parse_entry((*entries)[i]);
    const Status taken = entry ? sink(index, *entry) : Status(tl::unexpected(entry.error()));
    if (!taken)
      add_finding(report, {entry ? "index_missing" : "entry_invalid", entry_name(index),
                           taken.error().message});
    if (entry) ++report.kinds[entry->kind];
    ++report.entries;
  }
  return true;
}

Result<bool> TreeWalk::walk(std::uint64_t size, std::map<std::uint64_t, Digest256>& wanted_roots,
                            const EntrySink& sink, LedgerReport& report) {
  const auto full_tile = [&](const TileId& id, std::span<const Digest256> hashes) -> Status {
    // Level 0 was compared leaf by leaf, unless the tile was unreadable.
    compare_tile(id, hashes, report);
    return {};
  };
  for (std::uint64_t bundle = 0; bundle * kTileWidth < size; ++bundle) {
    const int width = tile_width(0, bundle, size);
    std::vector<Digest256> hashes;
    if (!walk_bundle(bundle, width, sink, report, hashes)) return false;
    for (const Digest256& hash : hashes) {
      FP_TRY(edge_.append(hash, full_tile));
      const auto wanted = wanted_roots.find(edge_.size());
      if (wanted != wanted_roots.end()) wanted->second = edge_.root();
    }
  }
  for (std::size_t level = 0; level < edge_.levels().size(); ++level) {
    const std::vector<Digest256>& hashes = edge_.levels()[level];
    if (hashes.empty()) continue;
    const std::uint64_t index = size >> ((level + 1) * kTileHeight);
    compare_tile(
        {TileKind::kHashes, static_cast<int>(level), index, static_cast<int>(hashes.size())},
        hashes, report);
  }
  return true;
}

}  // namespace fieldprint
