#include "ledger/ledger_reader.h"

#include <cstring>

#include "merkle/checkpoint.h"
#include "merkle/entry_bundle.h"
#include "merkle/proof.h"

namespace fieldprint {
namespace {

tl::unexpected<Error> index_error(std::uint64_t index, std::uint64_t size) {
  return fail(
      ErrorKind::kNotFound, "ledger_index",
      "the ledger has no entry " + std::to_string(index) + " in its first " + std::to_string(size),
      "index");
}

std::size_t max_bytes(const TileId& tile) {
  return tile.kind == TileKind::kEntries ? kMaxBundleBytes : kFullTileBytes;
}

// The first `width` entries of a full bundle.
Result<std::string> cut_bundle(std::string_view bundle, int width) {
  FP_ASSIGN(const auto entries, parse_entry_bundle(bundle, kTileWidth));
  if (width == kTileWidth) return std::string(bundle);
  const char* end = entries[static_cast<std::size_t>(width)].data() - 2;
  return std::string(bundle.data(), end);
}

}  // namespace

Result<std::string> FileTileSource::read_tile(const TileId& tile) {
  const auto read = [this](const TileId& id) -> Result<std::string> {
    const Result<std::vector<std::uint8_t>> bytes =
        env_.read_file(dir_ + "/" + tile_path(id), max_bytes(id));
    if (!bytes) return tl::unexpected(bytes.error());
    return std::string(bytes->begin(), bytes->end());
  };
  Result<std::string> bytes = read(tile);
  if (!bytes && bytes.error().code == "file_missing" && !tile.full()) {
    TileId full = tile;
    full.width = kTileWidth;
    bytes = read(full);
  }
  if (!bytes && bytes.error().code == "file_missing")
    return fail(ErrorKind::kNotFound, "ledger_tile_missing",
                dir_ + "/" + tile_path(tile) + ": not there; run 'ledger fsck'");
  return bytes;
}

LedgerReader::LedgerReader(Env& env, std::string dir, LedgerTrust trust, std::size_t cached_tiles)
    : env_(env),
      dir_(std::move(dir)),
      trust_(std::move(trust)),
      cached_tiles_(cached_tiles),
      source_(env, dir_) {}

TileNodeReader& LedgerReader::nodes(std::uint64_t size) {
  // A tree's nodes are also nodes of every larger tree: the reader only ever grows.
  if (nodes_ == nullptr)
    nodes_ = std::make_unique<TileNodeReader>(source_, size, cached_tiles_);
  else if (nodes_->size() < size)
    nodes_->set_size(size);
  return *nodes_;
}

Result<SignedCheckpoint> LedgerReader::checkpoint() {
  const auto bytes = env_.read_file(dir_ + "/checkpoint", kMaxNoteBytes);
  if (!bytes && bytes.error().code == "file_missing")
    return fail(ErrorKind::kNotFound, "ledger_missing", dir_ + ": no checkpoint, so no ledger");
  if (!bytes) return tl::unexpected(bytes.error());
  const std::string_view text(reinterpret_cast<const char*>(bytes->data()), bytes->size());
  {
    const std::lock_guard lock(mutex_);
    if (text == seen_.text) return seen_;  // verified before
  }
  FP_ASSIGN(SignedCheckpoint read,
            open_checkpoint(text, trust_.origin, trust_.log_keys, trust_.cosigners));
  const std::lock_guard lock(mutex_);
  if (read.size < seen_.size)
    return fail(ErrorKind::kCorrupt, "ledger_rolled_back",
                dir_ + ": the checkpoint went back from " + std::to_string(seen_.size) +
                    " entries to " + std::to_string(read.size) +
                    "; somebody restored an old copy, do not trust this log");
  seen_ = read;
  return read;
}

Result<InclusionProof> LedgerReader::prove(std::uint64_t index,
                                           const SignedCheckpoint& checkpoint) {
  if (index >= checkpoint.size) return index_error(index, checkpoint.size);
  const std::lock_guard lock(mutex_);
  TileNodeReader& reader = nodes(checkpoint.size);
  InclusionProof proof;
  proof.index = index;
  proof.checkpoint = checkpoint;
  FP_ASSIGN(proof.hashes, make_inclusion_proof(index, checkpoint.size, reader));
  const NodeId leaf{0, index};
  FP_ASSIGN(const std::vector<Digest256> hash, reader.read_nodes({&leaf, 1}));
  if (check_inclusion(index, checkpoint.size, hash[0], proof.hashes, checkpoint.root)) return proof;
  nodes_.reset();  // a damaged tile must not stay in memory once it was repaired
  return fail(ErrorKind::kCorrupt, "ledger_corrupt",
              dir_ + ": the tiles of entry " + std::to_string(index) +
                  " do not lead to the checkpoint's root; run 'ledger fsck'");
}

Result<std::vector<Digest256>> LedgerReader::prove_consistency(std::uint64_t old_size,
                                                               std::uint64_t new_size) {
  const std::lock_guard lock(mutex_);
  return make_consistency_proof(old_size, new_size, nodes(new_size));
}

Result<Digest256> LedgerReader::root(std::uint64_t size) {
  if (size == 0) return empty_root();
  const std::lock_guard lock(mutex_);
  return tree_root(size, nodes(size));
}

Result<std::string> LedgerReader::leaf(std::uint64_t index, std::uint64_t size) {
  if (index >= size) return index_error(index, size);
  const std::uint64_t bundle_index = index / kTileWidth;
  const int width = tile_width(0, bundle_index, size);
  FP_ASSIGN(const std::string bundle, tile_bytes({TileKind::kEntries, 0, bundle_index, width}));
  FP_ASSIGN(const auto entries, parse_entry_bundle(bundle, width));
  std::string leaf(entries[static_cast<std::size_t>(index % kTileWidth)]);
  const std::lock_guard lock(mutex_);
  const NodeId node{0, index};
  FP_ASSIGN(const std::vector<Digest256> hash, nodes(size).read_nodes({&node, 1}));
  if (hash[0] != leaf_hash(leaf))
    return fail(ErrorKind::kCorrupt, "ledger_corrupt",
                dir_ + ": entry " + std::to_string(index) +
                    " does not have the hash that the tree holds; run 'ledger fsck'");
  return leaf;
}

Result<std::optional<std::uint64_t>> LedgerReader::find_leaf(const Digest256& wanted,
                                                             std::uint64_t size) {
  for (std::uint64_t tiles = (size + kTileWidth - 1) / kTileWidth; tiles > 0; --tiles) {
    const std::uint64_t index = tiles - 1;
    const int width = tile_width(0, index, size);
    FP_ASSIGN(const std::string bytes, tile_bytes({TileKind::kHashes, 0, index, width}));
    for (std::size_t i = static_cast<std::size_t>(width); i-- > 0;)
      if (std::memcmp(bytes.data() + i * kHashBytes, wanted.data(), kHashBytes) == 0)
        return index * kTileWidth + i;
  }
  return std::nullopt;
}

Result<std::string> LedgerReader::tile_bytes(const TileId& tile) {
  FileTileSource source(env_, dir_);
  FP_ASSIGN(std::string bytes, source.read_tile(tile));
  if (tile.kind == TileKind::kEntries) {
    if (tile.full() || parse_entry_bundle(bytes, tile.width)) return bytes;
    return cut_bundle(bytes, tile.width);
  }
  const std::size_t wanted = static_cast<std::size_t>(tile.width) * kHashBytes;
  if (bytes.size() < wanted)
    return fail(ErrorKind::kCorrupt, "ledger_corrupt",
                dir_ + "/" + tile_path(tile) + ": too short; run 'ledger fsck'");
  bytes.resize(wanted);
  return bytes;
}

}  // namespace fieldprint
