#include "provenance/authority_log.h"

#include <algorithm>
#include <array>

#include "ledger/entry.h"
#include "merkle/entry_bundle.h"
#include "merkle/proof_builder.h"

namespace fieldprint {
namespace {

constexpr std::int64_t kClockSkew = 300;  // seconds by which two honest clocks may differ

// Entries that change what is allowed. Canonical JSON: a leaf of this kind holds exactly these
// bytes, and inside a string the quotes would be escaped. Most leaves are of other kinds and
// are only hashed.
constexpr std::array<std::string_view, 4> kMarks = {
    R"("kind":"promotion")", R"("kind":"revocation")", R"("kind":"override")",
    R"("kind":"trust_root")"};

bool may_have_authority(std::string_view leaf) {
  return std::ranges::any_of(
      kMarks, [&](std::string_view mark) { return leaf.find(mark) != std::string_view::npos; });
}

std::string text_of(const Entry& entry, const char* field) {
  const auto found = entry.body.find(field);
  if (found == entry.body.end() || found->second.string() == nullptr) return {};
  return *found->second.string();
}

Status apply(std::uint64_t index, std::string_view leaf, AuthorityState& state) {
  const Result<Entry> entry = parse_entry(leaf);
  if (!entry) {
    return fail(ErrorKind::kUnsupported, "ledger_entry_unreadable",
                "ledger entry " + std::to_string(index) +
                    " may carry authority and this build cannot read it: " + entry.error().message);
  }
  const std::string envelope = text_of(*entry, "envelope");
  // Refusals are kept in state.ignored(): the log holds them, but they carry no authority.
  if (entry->kind == EntryKind::kPromotion) {
    (void)state.add_statement(index, StatementType::kPromotion, envelope);
  } else if (entry->kind == EntryKind::kRevocation) {
    (void)state.add_statement(index, StatementType::kRevocation, envelope);
  } else if (entry->kind == EntryKind::kTrustRoot) {
    (void)state.add_root(index, envelope);
  } else if (entry->kind == EntryKind::kOverride && text_of(*entry, "event") != "issued") {
    state.add_override_use(text_of(*entry, "statement_digest"), envelope);
  }
  return {};
}

// The latest T such that the cosignatures made at T or later satisfy the quorum: a fresh
// signature beside a stale quorum proves nothing.
std::int64_t quorum_time(const Policy& policy, const VerifiedCheckpoint& checkpoint) {
  std::vector<VerifiedSignature> dated;
  for (const VerifiedSignature& signature : checkpoint.cosignatures) {
    if (signature.time) dated.push_back(signature);
  }
  std::ranges::sort(dated, [](const VerifiedSignature& a, const VerifiedSignature& b) {
    return *a.time > *b.time;
  });
  for (std::size_t count = 1; count <= dated.size(); ++count) {
    if (policy.quorum_met(std::span(dated).first(count))) {
      return static_cast<std::int64_t>(*dated[count - 1].time);
    }
  }
  return 0;
}

}  // namespace

AuthorityLog::AuthorityLog(SignedRoot genesis, SignedRoot newest, std::unique_ptr<LogSource> source,
                           std::optional<SeenHead> seen)
    : newest_known_(std::move(newest)),
      source_(std::move(source)),
      seen_(seen),
      state_(std::move(genesis)) {}

FileLogSource::FileLogSource(Env& env, std::string ledger_dir)
    : env_(env), dir_(std::move(ledger_dir)), tiles_(env, dir_) {}

Result<std::vector<std::string>> FileLogSource::checkpoints() {
  std::vector<std::string> found;
  for (const char* name : {"/checkpoint.witnessed", "/checkpoint"}) {
    FP_ASSIGN(const bool there, env_.exists(dir_ + name));
    if (!there) continue;
    FP_ASSIGN(const std::vector<std::uint8_t> bytes, env_.read_file(dir_ + name, kMaxNoteBytes));
    found.emplace_back(bytes.begin(), bytes.end());
  }
  if (found.empty()) {
    return fail(ErrorKind::kNotFound, "ledger_missing", dir_ + ": no checkpoint, so no ledger");
  }
  return found;
}

Result<CheckpointView> AuthorityLog::open_checkpoint(const SignedRoot& root) const {
  FP_ASSIGN(const Policy policy, Policy::parse(root.root.policy));
  FP_ASSIGN(std::vector<std::string> texts, source_->checkpoints());
  Result<CheckpointView> newest =
      fail(ErrorKind::kNotFound, "ledger_missing", "the ledger has no checkpoint");
  for (std::string& text : texts) {
    const Result<VerifiedCheckpoint> opened = policy.open(text);
    if (!opened) {
      if (!newest) newest = tl::unexpected(opened.error());
      continue;
    }
    CheckpointView view;
    view.text = std::move(text);
    view.size = opened->checkpoint.size;
    view.root = opened->checkpoint.root;
    view.time_s = quorum_time(policy, *opened);
    const bool newer = !newest || view.size > newest->size ||
                       (view.size == newest->size && view.time_s > newest->time_s);
    if (newer) newest = std::move(view);
  }
  return newest;
}

Status AuthorityLog::check_seen(const CompactRange& range) const {
  if (!seen_ || range.size() != seen_->size || range.root() == seen_->root) return {};
  return fail(ErrorKind::kForbidden, "ledger_forked",
              "the ledger does not contain the tree of size " + std::to_string(seen_->size) +
                  " that was seen before: its history was rewritten");
}

// Up to 256 leaves; their bytes are not compared with anything here.
Result<std::vector<std::string>> AuthorityLog::read_bundle(std::uint64_t index,
                                                           std::uint64_t size) const {
  TileId id{TileKind::kEntries, 0, index, tile_width(0, index, size)};
  FP_ASSIGN(const std::string bytes, source_->tiles().read_tile(id));
  auto entries = parse_entry_bundle(bytes, id.width);
  if (!entries && !id.full()) entries = parse_entry_bundle(bytes, kTileWidth);  // it has grown
  if (!entries) return tl::unexpected(entries.error());
  return std::vector<std::string>(entries->begin(), entries->begin() + id.width);
}

Status AuthorityLog::read_leaves(std::uint64_t size, CompactRange& range,
                                 AuthorityState& state) const {
  while (range.size() < size) {
    const std::uint64_t first = range.size() / kTileWidth * kTileWidth;
    FP_ASSIGN(const std::vector<std::string> leaves, read_bundle(first / kTileWidth, size));
    for (std::size_t i = range.size() - first; i < leaves.size(); ++i) {
      const std::uint64_t index = range.size();
      range.append(leaf_hash(leaves[i]));
      if (may_have_authority(leaves[i])) FP_TRY(apply(index, leaves[i], state));
      FP_TRY(check_seen(range));
    }
  }
  return {};
}

Status AuthorityLog::refresh() {
  const SignedRoot& trusted =
      state_.root().root.version > newest_known_.root.version ? state_.root() : newest_known_;
  FP_ASSIGN(CheckpointView view, open_checkpoint(trusted));
  const std::uint64_t least = std::max(range_.size(), seen_ ? seen_->size : 0);
  if (view.size < least) {
    return fail(ErrorKind::kForbidden, "ledger_rolled_back",
                "the ledger's checkpoint has " + std::to_string(view.size) + " entries, " +
                    std::to_string(least) + " were seen before: an old copy was put back");
  }
  // Copies, so that an error leaves everything as it was.
  CompactRange range = range_;
  AuthorityState state = state_;
  FP_TRY(read_leaves(view.size, range, state));
  if (range.root() != view.root) {
    return fail(ErrorKind::kCorrupt, "ledger_corrupt",
                "the ledger's leaves do not lead to the root that its checkpoint signs");
  }
  if (state.root().root.version < newest_known_.root.version) {
    return fail(ErrorKind::kForbidden, "root_unknown",
                "trust root version " + std::to_string(newest_known_.root.version) +
                    " is not in the ledger, which goes up to version " +
                    std::to_string(state.root().root.version));
  }
  if (state.root().digest != trusted.digest) {
    // The log brought a newer root; its policy decides now.
    FP_ASSIGN(const CheckpointView again, open_checkpoint(state.root()));
    if (again.size >= view.size) view.time_s = std::min(view.time_s, again.time_s);
  }
  range_ = std::move(range);
  state_ = std::move(state);
  checkpoint_ = std::move(view);
  return {};
}

Status AuthorityLog::check_fresh(std::int64_t now_s, std::int64_t max_age_s) const {
  if (checkpoint_.text.empty()) {
    return fail(ErrorKind::kUnavailable, "ledger_unread", "the ledger was not read yet");
  }
  if (checkpoint_.time_s > now_s + kClockSkew) {
    return fail(ErrorKind::kUnavailable, "checkpoint_time_ahead",
                "the ledger's checkpoint is dated " + std::to_string(checkpoint_.time_s - now_s) +
                    " seconds after this machine's clock; set the clock");
  }
  if (checkpoint_.time_s > 0 && now_s - checkpoint_.time_s <= max_age_s) return {};
  const std::string age =
      checkpoint_.time_s == 0
          ? "no cosignature with a time"
          : "a time of " + std::to_string(now_s - checkpoint_.time_s) + " seconds ago";
  return fail(ErrorKind::kUnavailable, "checkpoint_stale",
              "the ledger's checkpoint has " + age + ", allowed are " + std::to_string(max_age_s) +
                  ": a revocation may have been missed; bring the ledger up to date");
}

Result<AuthorityLog::Inclusion> AuthorityLog::prove(std::uint64_t index) {
  if (index >= checkpoint_.size) {
    return fail(ErrorKind::kNotFound, "ledger_index",
                "entry " + std::to_string(index) + " is not under the checkpoint that was read");
  }
  FP_ASSIGN(const std::vector<std::string> leaves,
            read_bundle(index / kTileWidth, checkpoint_.size));
  Inclusion inclusion;
  inclusion.leaf = leaves[index % kTileWidth];
  TileNodeReader nodes(source_->tiles(), checkpoint_.size);
  FP_ASSIGN(std::vector<Digest256> hashes, make_inclusion_proof(index, checkpoint_.size, nodes));
  const TlogProof proof{std::nullopt, index, std::move(hashes), checkpoint_.text};
  FP_ASSIGN(const Policy policy, Policy::parse(state_.root().root.policy));
  FP_TRY(tlog_proof_verify(proof, leaf_hash(inclusion.leaf), policy));
  inclusion.proof = tlog_proof_print(proof);
  return inclusion;
}

}  // namespace fieldprint
