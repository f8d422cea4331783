// Reads the published files of a ledger: checkpoint, tiles, entry bundles. Needs no secret key
// and no database, so it works on a live folder, on an export, and behind HTTP.
//
// Everything it hands out was checked: a checkpoint against the keys, a proof against the
// checkpoint's root, a leaf against its hash in the tree.
//
// Thread rule: from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "ledger/checkpoint_file.h"
#include "ledger/trust.h"
#include "merkle/tile_reader.h"
#include "store/env.h"

namespace fieldprint {

inline constexpr std::size_t kMaxBundleBytes = std::size_t{256} * (65'535 + 2);

struct InclusionProof {
  std::uint64_t index = 0;
  std::vector<Digest256> hashes;  // leaf to root
  SignedCheckpoint checkpoint;    // the tree they lead to
};

// Tiles as files below a folder. A partial tile that is gone is taken from the full one.
class FileTileSource : public TileSource {
 public:
  FileTileSource(Env& env, std::string dir) : env_(env), dir_(std::move(dir)) {}
  // Errors: ledger_tile_missing, those of Env.
  Result<std::string> read_tile(const TileId& tile) override;

 private:
  Env& env_;
  std::string dir_;
};

class LedgerReader {
 public:
  LedgerReader(Env& env, std::string dir, LedgerTrust trust, std::size_t cached_tiles = 1024);

  // The file `checkpoint`, read again each time. Errors: ledger_missing, ledger_rolled_back (an
  // older one than this reader has seen), those of open_checkpoint.
  Result<SignedCheckpoint> checkpoint();

  // Proof under any checkpoint of this log that its tiles reach. Errors: ledger_index,
  // ledger_corrupt (tiles that do not lead to the checkpoint's root; a second attempt reads
  // them again), those of FileTileSource.
  Result<InclusionProof> prove(std::uint64_t index, const SignedCheckpoint& checkpoint);
  Result<std::vector<Digest256>> prove_consistency(std::uint64_t old_size, std::uint64_t new_size);
  Result<Digest256> root(std::uint64_t size);

  // A leaf of a tree of `size`. Errors: ledger_index, ledger_corrupt.
  Result<std::string> leaf(std::uint64_t index, std::uint64_t size);
  // Newest index below `size` with that leaf hash.
  Result<std::optional<std::uint64_t>> find_leaf(const Digest256& leaf_hash, std::uint64_t size);

  // The bytes to serve for a tile or bundle of exactly this width. Errors: ledger_tile_missing.
  Result<std::string> tile_bytes(const TileId& tile);

  const std::string& dir() const { return dir_; }
  const LedgerTrust& trust() const { return trust_; }

 private:
  // A node reader for trees up to at least `size`; the caller holds mutex_.
  TileNodeReader& nodes(std::uint64_t size);

  Env& env_;
  const std::string dir_;
  const LedgerTrust trust_;
  const std::size_t cached_tiles_;
  FileTileSource source_;
  std::mutex mutex_;  // guards what follows
  std::unique_ptr<TileNodeReader> nodes_;
  SignedCheckpoint seen_;  // the newest one that was verified
};

}  // namespace fieldprint
