// The ledger read for what has authority: every leaf is hashed and the hashes must lead to a
// checkpoint that the trust root's policy accepts. Only so is it certain that no revocation
// was left out: proofs for the entries one was shown say nothing about those one was not.
//
// Thread rule: one thread at a time (anchor/registry.h adds the lock).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "ledger/ledger_reader.h"
#include "merkle/compact_range.h"
#include "merkle/policy.h"
#include "merkle/tlog_proof.h"
#include "provenance/authority_state.h"

namespace fieldprint {

// Where tree heads and tiles come from. Nothing it returns is believed without proof.
class LogSource {
 public:
  virtual ~LogSource() = default;
  // Signed checkpoints, at least one; the newest that the policy accepts is taken.
  virtual Result<std::vector<std::string>> checkpoints() = 0;
  virtual TileSource& tiles() = 0;
};

// The published files of a ledger's folder (ledger/ledger.h). Needs no key and no database.
class FileLogSource : public LogSource {
 public:
  FileLogSource(Env& env, std::string ledger_dir);
  // Errors: ledger_missing, those of Env.
  Result<std::vector<std::string>> checkpoints() override;
  TileSource& tiles() override { return tiles_; }

 private:
  Env& env_;
  std::string dir_;
  FileTileSource tiles_;
};

// A tree head seen before. The log must contain it, whatever it says now.
struct SeenHead {
  std::uint64_t size = 0;
  Digest256 root{};
};

struct CheckpointView {
  std::string text;  // the signed note
  std::uint64_t size = 0;
  Digest256 root{};
  // Latest time that a quorum of the policy vouches for; 0 if the policy asks for no witness.
  std::int64_t time_s = 0;
};

class AuthorityLog {
 public:
  // genesis and newest: the root trusted from the start, and the last one known here; equal
  // for a trust folder that never rotated. Reads nothing yet.
  AuthorityLog(SignedRoot genesis, SignedRoot newest, std::unique_ptr<LogSource> source,
               std::optional<SeenHead> seen);

  // Reads up to the newest checkpoint. On error nothing that was known is forgotten, and what
  // was read before stays as it was. Errors: ledger_rolled_back (smaller than a head seen
  // before), ledger_forked (does not contain it), ledger_corrupt (leaves do not lead to the
  // checkpoint), ledger_entry_unreadable (an entry of authority this build cannot read),
  // root_unknown (the newest root known here is not in the log), those of Policy::open and of
  // the source.
  Status refresh();

  // After a refresh(): what holds, and the head it was read under.
  const AuthorityState& state() const { return state_; }
  const CheckpointView& checkpoint() const { return checkpoint_; }
  SeenHead head() const { return {checkpoint_.size, checkpoint_.root}; }

  // Errors: checkpoint_stale (older than max_age_s, or without any time),
  // checkpoint_time_ahead (dated more than 5 minutes after now_s), ledger_unread.
  Status check_fresh(std::int64_t now_s, std::int64_t max_age_s) const;

  // The leaf's bytes and a proof, verified under the newest root's policy, that the log has it.
  struct Inclusion {
    std::string leaf;
    std::string proof;  // c2sp.org/tlog-proof@v1
  };
  Result<Inclusion> prove(std::uint64_t index);

 private:
  Result<CheckpointView> open_checkpoint(const SignedRoot& root) const;
  Result<std::vector<std::string>> read_bundle(std::uint64_t index, std::uint64_t size) const;
  Status read_leaves(std::uint64_t size, CompactRange& range, AuthorityState& state) const;
  Status check_seen(const CompactRange& range) const;

  SignedRoot newest_known_;
  std::unique_ptr<LogSource> source_;
  std::optional<SeenHead> seen_;
  AuthorityState state_;
  CompactRange range_;
  CheckpointView checkpoint_;
};

}  // namespace fieldprint
