// What holds now, from everything that was said: reads trust roots and statements in the
// order of the log and answers whether an anchor may be loaded in a place.
//
// Rules (decision 0021):
// - A statement counts if the root in force at its place in the log accepts it. To load an
//   anchor its promotion must also meet the threshold of the newest root: a key that was
//   rotated out lifts nothing any more.
// - Promotions of one name and scope form a line: sequence 1, 2, ... each naming the digest
//   of the one before. One that does not fit its line is not accepted.
// - For one name and place only the newest accepted promotion counts. An older one never
//   comes back by itself, even when the newer one expires or is revoked.
// - A revocation never ends, and counts whatever its sequence: hiding one must not disarm
//   the next.
// - An override is used once: its nonce is remembered from the log.
//
// Pure logic: no clock, no files. Thread rule: one thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "core/error.h"
#include "provenance/authority.h"

namespace fieldprint {

// A statement with its place in the log.
struct LoggedStatement {
  std::uint64_t index = 0;
  SignedStatement signed_statement;
  const Statement& statement() const { return signed_statement.statement; }
};

// An entry of the log that carried no authority, and why. Kept for people to see.
struct IgnoredEntry {
  std::uint64_t index = 0;
  std::string code;
  std::string message;
};

// What a request says about itself when it brings an override.
struct OverrideUse {
  Place place;
  std::string anchor_digest;  // of the anchor that would stand in front
  std::string session;
  std::string request_digest;  // "sha256:<hex>"
  std::int64_t now = 0;
};

class AuthorityState {
 public:
  static constexpr std::size_t kMaxIgnored = 100;  // the oldest are dropped

  // genesis: the root that the verifier trusts to begin with.
  explicit AuthorityState(SignedRoot genesis);

  // The next entries of the log, in order. The Result says whether it was accepted; a refusal
  // changes nothing but ignored(). Errors: those of verify_statement and open_successor,
  // statement_type_mismatch (a leaf of another kind), statement_repeated,
  // statement_out_of_sequence.
  Status add_statement(std::uint64_t index, StatementType kind, std::string_view envelope);
  Status add_root(std::uint64_t index, std::string_view envelope);
  // An override that was used: it cannot be used again. The envelope, if the entry has one,
  // takes its nonce too, so that no other statement with that nonce is good.
  void add_override_use(std::string_view statement_digest, std::string_view envelope);

  // The promotion that lets this anchor stand in this place now, or why not. Errors:
  // anchor_revoked, anchor_not_promoted, promotion_scope, anchor_superseded,
  // promotion_revoked, promotion_not_yet_valid, promotion_expired, promotion_keys_retired.
  Result<LoggedStatement> check_anchor(std::string_view anchor_digest, const Place& place,
                                       std::int64_t now) const;
  // Errors: override_target, override_scope, override_request, override_not_yet_valid,
  // override_expired, override_replayed, statement_type_mismatch, those of verify_statement.
  Result<SignedStatement> check_override(std::string_view envelope, const OverrideUse& use) const;

  // Sequence and previous for the next statement of a line. Overrides: always {0, ""}.
  struct NextInLine {
    std::int64_t sequence = 0;
    std::string previous;
  };
  NextInLine next_in_line(StatementType type, const std::string& subject_name,
                          const Scope& scope) const;

  const SignedRoot& root() const { return root_; }
  const std::vector<LoggedStatement>& promotions() const { return promotions_; }
  const std::vector<LoggedStatement>& revocations() const { return revocations_; }
  const std::vector<IgnoredEntry>& ignored() const { return ignored_; }
  // 1 + log index of the newest accepted root, promotion or revocation; 0 before any. Grows
  // with every change of what is allowed: part of cache keys and receipts.
  std::uint64_t policy_epoch() const { return policy_epoch_; }
  // The first revocation that names the digest and holds in this place; null if none does.
  const LoggedStatement* revocation_of(std::string_view digest, const Place& place) const;

 private:
  using Line = std::tuple<StatementType, std::string, std::string, std::string>;
  static Line line_of(StatementType type, const std::string& name, const Scope& scope);
  Status accept(std::uint64_t index, SignedStatement statement);
  Status keep_ignored(std::uint64_t index, const Error& error);

  SignedRoot root_;
  std::vector<LoggedStatement> promotions_;   // in log order
  std::vector<LoggedStatement> revocations_;  // in log order
  std::map<Line, NextInLine> lines_;
  std::set<std::string> digests_;  // of accepted statements
  std::set<std::string> used_;     // digests and nonces of used overrides
  std::vector<IgnoredEntry> ignored_;
  std::uint64_t policy_epoch_ = 0;
};

}  // namespace fieldprint
