#include "provenance/authority_log.h"

#include <algorithm>
#include <array>

#include "ledger/entry.h"

namespace fieldprint {
namespace {

constexpr std::size_t kLeavesAtOnce = 4096;
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

AuthorityLog::AuthorityLog(SignedRoot genesis, SignedRoot newest,
                           std::unique_ptr<LeafSource> source, std::optional<SeenHead> seen)
    : newest_known_(std::move(newest)),
      source_(std::move(source)),
      seen_(seen),
      state_(std::move(genesis)) {}

Result<CheckpointView> AuthorityLog::open_checkpoint(const SignedRoot& root) const {
  FP_ASSIGN(const Policy policy, Policy::parse(root.root.policy));
  FP_ASSIGN(std::string text, source_->checkpoint());
  FP_ASSIGN(const VerifiedCheckpoint opened, policy.open(text));
  CheckpointView view;
  view.text = std::move(text);
  view.size = opened.checkpoint.size;
  view.root = opened.checkpoint.root;
  view.time_s = quorum_time(policy, opened);
  return view;
}

Status AuthorityLog::check_seen(const CompactRange& range) const {
  if (!seen_ || range.size() != seen_->size || range.root() == seen_->root) return {};
  return fail(ErrorKind::kForbidden, "ledger_forked",
              "the ledger does not contain the tree of size " + std::to_string(seen_->size) +
                  " that was seen before: its history was rewritten");
}

Status AuthorityLog::read_leaves(std::uint64_t size, CompactRange& range,
                                 AuthorityState& state) const {
  while (range.size() < size) {
    const auto wanted =
        static_cast<std::size_t>(std::min<std::uint64_t>(kLeavesAtOnce, size - range.size()));
    FP_ASSIGN(const std::vector<std::string> leaves, source_->leaves(range.size(), wanted));
    if (leaves.empty() || leaves.size() > wanted) {
      return fail(ErrorKind::kCorrupt, "ledger_corrupt",
                  "the ledger ends at leaf " + std::to_string(range.size()) +
                      ", its checkpoint says " + std::to_string(size));
    }
    for (const std::string& leaf : leaves) {
      const std::uint64_t index = range.size();
      range.append(leaf_hash(leaf));
      if (may_have_authority(leaf)) FP_TRY(apply(index, leaf, state));
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
  Inclusion inclusion;
  FP_ASSIGN(const std::vector<std::string> leaves, source_->leaves(index, 1));
  if (leaves.size() != 1) {
    return fail(ErrorKind::kCorrupt, "ledger_corrupt",
                "leaf " + std::to_string(index) + " cannot be read");
  }
  inclusion.leaf = leaves.front();
  FP_ASSIGN(inclusion.proof, source_->prove(index));
  FP_ASSIGN(const Policy policy, Policy::parse(state_.root().root.policy));
  FP_ASSIGN(const TlogProof proof, tlog_proof_parse(inclusion.proof));
  if (proof.index != index) {
    return fail(ErrorKind::kCorrupt, "proof_invalid",
                "the proof is for leaf " + std::to_string(proof.index) + ", not for leaf " +
                    std::to_string(index));
  }
  FP_TRY(tlog_proof_verify(proof, leaf_hash(inclusion.leaf), policy));
  return inclusion;
}

}  // namespace fieldprint
