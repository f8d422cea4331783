#include "ledger/integrator.h"

#include <algorithm>

#include "core/log.h"
#include "merkle/entry_bundle.h"

namespace fieldprint {
namespace {

constexpr std::size_t kRoundBytes = std::size_t{16} << 20;
constexpr std::size_t kMaxPartials = 1024;  // file names in a folder of partial tiles; 255 is legal

std::span<const std::uint8_t> as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::span<const std::uint8_t> as_bytes(std::span<const Digest256> hashes) {
  static_assert(sizeof(Digest256) == kHashBytes);
  return {reinterpret_cast<const std::uint8_t*>(hashes.data()), hashes.size() * kHashBytes};
}

std::uint64_t bundle_start(std::uint64_t size) { return size / kTileWidth * kTileWidth; }

}  // namespace

Integrator::Integrator(Env& env, std::string dir, const LedgerKeys& keys, LedgerDb db)
    : env_(env), dir_(std::move(dir)), keys_(keys), db_(std::move(db)) {}

Result<Integrator::Progress> Integrator::round() {
  const std::lock_guard lock(mutex_);
  Progress progress;
  FP_ASSIGN(progress.durable_size, db_.next_index());
  FP_TRY(integrate(progress.durable_size));
  FP_ASSIGN(progress.checkpoint, publish(Renew::kIfGrown));
  progress.behind = progress.checkpoint.size < progress.durable_size;
  return progress;
}

Status Integrator::integrate(std::uint64_t durable_size) {
  FP_ASSIGN(const std::uint64_t old_size, db_.tree_size());
  if (old_size >= durable_size) return {};
  if (edge_.size() != old_size) {
    FP_ASSIGN(edge_, db_.tree());
    if (edge_.size() != old_size) return {};  // it moved in between: next round
  }
  const Result<std::vector<std::string>> leaves = db_.pending(bundle_start(old_size), kRoundBytes);
  TreeEdge grown = edge_;
  Status written =
      leaves ? write_growth(old_size, *leaves, grown) : Status(tl::unexpected(leaves.error()));
  Result<bool> moved = false;
  if (written) moved = db_.advance_tree(old_size, grown);
  if (written && !moved) written = tl::unexpected(moved.error());
  if (!written) {
    // Another process that was faster may have removed partial tiles, or leaves, under our feet.
    const Result<std::uint64_t> now = db_.tree_size();
    return now && *now != old_size ? Status{} : written;
  }
  if (!*moved) return {};
  edge_ = std::move(grown);
  remove_outgrown(old_size, edge_.size());
  return {};
}

Status Integrator::write_growth(std::uint64_t old_size, const std::vector<std::string>& leaves,
                                TreeEdge& edge) {
  const std::uint64_t first = bundle_start(old_size);
  if (first + leaves.size() <= old_size)
    return fail(ErrorKind::kCorrupt, "ledger_corrupt",
                "ledger.db: leaves from " + std::to_string(old_size) +
                    " on are missing; run 'ledger fsck'");
  // Leaves of the last bundle that are in the tree already must be what the tree says.
  for (std::size_t i = 0; i < old_size - first; ++i)
    if (leaf_hash(leaves[i]) != edge.levels()[0][i])
      return fail(ErrorKind::kCorrupt, "ledger_corrupt",
                  "ledger.db: leaf " + std::to_string(first + i) +
                      " is not the one in the tree; run 'ledger fsck'");
  DurableWriter writer(env_);
  FP_TRY(write_bundles(writer, first, leaves));
  const auto full_tile = [&](const TileId& id, std::span<const Digest256> hashes) {
    return writer.write(dir_ + "/" + tile_path(id), as_bytes(hashes));
  };
  for (std::size_t i = old_size - first; i < leaves.size(); ++i)
    FP_TRY(edge.append(leaf_hash(leaves[i]), full_tile));
  FP_TRY(write_partial_tiles(writer, old_size, edge));
  return writer.finish();
}

Status Integrator::write_bundles(DurableWriter& writer, std::uint64_t first,
                                 const std::vector<std::string>& leaves) {
  for (std::size_t begin = 0; begin < leaves.size(); begin += kTileWidth) {
    const std::size_t width = std::min<std::size_t>(kTileWidth, leaves.size() - begin);
    std::string bundle;
    for (std::size_t i = begin; i < begin + width; ++i) FP_TRY(append_entry(bundle, leaves[i]));
    const TileId id{TileKind::kEntries, 0, (first + begin) / kTileWidth, static_cast<int>(width)};
    FP_TRY(writer.write(dir_ + "/" + tile_path(id), as_bytes(bundle)));
  }
  return {};
}

Status Integrator::write_partial_tiles(DurableWriter& writer, std::uint64_t old_size,
                                       const TreeEdge& edge) {
  for (const TileId& id : grown_tiles(old_size, edge.size())) {
    if (id.full()) continue;
    const std::vector<Digest256>& hashes = edge.levels()[static_cast<std::size_t>(id.level)];
    FP_TRY(writer.write(dir_ + "/" + tile_path(id), as_bytes(hashes)));
  }
  return {};
}

// Partial tiles may go once the full one is there (tlog-tiles). What cannot be removed stays:
// it costs room, not truth.
void Integrator::remove_outgrown(std::uint64_t old_size, std::uint64_t new_size) {
  std::vector<TileId> full = grown_tiles(old_size, new_size);
  std::erase_if(full, [](const TileId& id) { return !id.full(); });
  std::vector<TileId> all = full;
  for (TileId id : full) {
    if (id.level != 0) continue;
    id.kind = TileKind::kEntries;
    all.push_back(id);
  }
  for (const TileId& id : all) {
    if (tile_width(id.level, id.index, old_size) == 0) continue;  // never had a partial tile
    std::string partials = dir_;
    partials.append("/").append(tile_path(id)).append(".p");
    const Result<std::vector<std::string>> names = env_.list_dir(partials, kMaxPartials);
    if (!names) continue;
    for (const std::string& name : *names)
      (void)env_.remove_file(std::string(partials).append("/").append(name));
    (void)env_.remove_dir(partials);
  }
}

Result<SignedCheckpoint> Integrator::read_own(std::string_view text) const {
  const VerifierKey& log = keys_.log.verifier();
  const VerifierKey& cosigner = keys_.cosigner.verifier();
  return open_checkpoint(text, log.name(), {&log, 1}, {&cosigner, 1});
}

Result<SignedCheckpoint> Integrator::publish(Renew renew) {
  FP_ASSIGN(PublishedState state, db_.published());
  FP_ASSIGN(const std::uint64_t seen_size, db_.tree_size());
  if (renew == Renew::kIfGrown && !state.checkpoint.empty() && state.size == seen_size)
    return read_own(state.checkpoint);

  FP_ASSIGN(Transaction transaction, Transaction::begin(db_.database()));
  FP_ASSIGN(state, db_.published());
  FP_ASSIGN(const std::uint64_t size, db_.tree_size());
  if (renew == Renew::kIfGrown && !state.checkpoint.empty() && state.size == size)
    return read_own(state.checkpoint);
  if (edge_.size() != size) {
    FP_ASSIGN(edge_, db_.tree());
  }
  std::vector<NoteSignature> others;  // witnesses' signatures hold for the same body only
  if (state.size == size && !state.checkpoint.empty()) {
    FP_ASSIGN(Note note, note_parse(state.checkpoint));
    others = std::move(note.signatures);
  }
  // The clock may step back; a log's statements about time must not.
  const std::int64_t time_s = std::max(env_.now_ms() / 1000, state.time_s);
  SignedCheckpoint checkpoint = sign_checkpoint(keys_.log.name(), size, edge_.root(), keys_.log,
                                                keys_.cosigner, time_s, others);
  FP_TRY(write_file_durably(env_, dir_ + "/checkpoint", checkpoint.text));
  state.size = size;
  state.time_s = time_s;
  state.checkpoint = checkpoint.text;
  FP_TRY(db_.set_published(state));
  FP_TRY(transaction.commit());
  return checkpoint;
}

Result<SignedCheckpoint> Integrator::refresh() {
  const std::lock_guard lock(mutex_);
  return publish(Renew::kAlways);
}

Status Integrator::add_cosignatures(const SignedCheckpoint& checkpoint,
                                    const std::vector<NoteSignature>& cosignatures, Quorum quorum) {
  const std::lock_guard lock(mutex_);
  FP_ASSIGN(Transaction transaction, Transaction::begin(db_.database()));
  FP_ASSIGN(PublishedState state, db_.published());
  const auto merged = [&](const std::string& text) -> Result<std::string> {
    FP_ASSIGN(Note note, note_parse(text));
    for (const NoteSignature& added : cosignatures) {
      std::erase_if(note.signatures, [&](const NoteSignature& old) {
        return old.name == added.name && old.key_id == added.key_id;
      });
      note.signatures.push_back(added);
    }
    return note_print(note);
  };
  if (state.size == checkpoint.size) {
    FP_ASSIGN(state.checkpoint, merged(state.checkpoint));
    FP_TRY(write_file_durably(env_, dir_ + "/checkpoint", state.checkpoint));
  }
  if (quorum == Quorum::kMet && checkpoint.size >= state.witnessed_size) {
    FP_ASSIGN(state.witnessed, merged(checkpoint.text));
    state.witnessed_size = checkpoint.size;
    FP_TRY(write_file_durably(env_, dir_ + "/checkpoint.witnessed", state.witnessed));
  }
  FP_TRY(db_.set_published(state));
  return transaction.commit();
}

}  // namespace fieldprint
