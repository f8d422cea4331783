#include "provenance/authority_state.h"

#include <algorithm>

namespace fieldprint {
namespace {

tl::unexpected<Error> forbidden(const char* code, std::string message) {
  return fail(ErrorKind::kForbidden, code, std::move(message));
}

tl::unexpected<Error> wrong_kind(StatementType wanted, StatementType found) {
  return fail(ErrorKind::kInvalid, "statement_type_mismatch",
              std::string("a ") + statement_type_name(wanted) + " is wanted here, this is a " +
                  statement_type_name(found));
}

Status check_window(const TimeWindow& window, std::int64_t now, const char* early,
                    const char* late) {
  if (now < window.not_before) {
    return forbidden(early, "it holds from " + std::to_string(window.not_before) + " on, now is " +
                                std::to_string(now) + " (seconds since 1970)");
  }
  if (now >= window.not_after) {
    return forbidden(late, "it ended at " + std::to_string(window.not_after) + ", now is " +
                               std::to_string(now) + " (seconds since 1970)");
  }
  return {};
}

}  // namespace

AuthorityState::AuthorityState(SignedRoot genesis) : root_(std::move(genesis)) {}

AuthorityState::Line AuthorityState::line_of(StatementType type, const std::string& name,
                                             const Scope& scope) {
  // Revocations of a scope are one line, whatever they are about.
  const bool named = type == StatementType::kPromotion;
  return {type, named ? name : std::string(), scope.tenant, scope.model_digest};
}

AuthorityState::NextInLine AuthorityState::next_in_line(StatementType type,
                                                        const std::string& subject_name,
                                                        const Scope& scope) const {
  if (type == StatementType::kOverride) return {};
  const auto found = lines_.find(line_of(type, subject_name, scope));
  return found == lines_.end() ? NextInLine{1, ""} : found->second;
}

Status AuthorityState::keep_ignored(std::uint64_t index, const Error& error) {
  if (ignored_.size() == kMaxIgnored) ignored_.erase(ignored_.begin());
  ignored_.push_back({index, error.code, error.message});
  return tl::unexpected(error);
}

Status AuthorityState::accept(std::uint64_t index, SignedStatement accepted) {
  const Statement& s = accepted.statement;
  if (digests_.contains(accepted.digest)) {
    return fail(ErrorKind::kInvalid, "statement_repeated",
                "statement " + accepted.digest + " is in the log already");
  }
  const NextInLine next = next_in_line(s.type, s.subject_name, s.scope);
  const bool fits = s.sequence == next.sequence && s.previous == next.previous;
  if (!fits && s.type == StatementType::kPromotion) {
    return forbidden("statement_out_of_sequence",
                     "promotion " + accepted.digest + " has sequence " +
                         std::to_string(s.sequence) + ", its line goes on with " +
                         std::to_string(next.sequence));
  }
  digests_.insert(accepted.digest);
  policy_epoch_ = index + 1;
  lines_[line_of(s.type, s.subject_name, s.scope)] = {std::max(s.sequence, next.sequence) + 1,
                                                      accepted.digest};
  auto& list = s.type == StatementType::kPromotion ? promotions_ : revocations_;
  list.push_back({index, std::move(accepted)});
  return {};
}

Status AuthorityState::add_statement(std::uint64_t index, StatementType kind,
                                     std::string_view envelope) {
  Result<SignedStatement> read = verify_statement(envelope, root_.root);
  if (!read) return keep_ignored(index, read.error());
  if (read->statement.type != kind || kind == StatementType::kOverride) {
    return keep_ignored(index, wrong_kind(kind, read->statement.type).value());
  }
  if (const Status kept = accept(index, std::move(*read)); !kept) {
    return keep_ignored(index, kept.error());
  }
  return {};
}

Status AuthorityState::add_root(std::uint64_t index, std::string_view envelope) {
  Result<SignedRoot> next = open_successor(root_, envelope);
  if (!next) return keep_ignored(index, next.error());
  root_ = std::move(*next);
  policy_epoch_ = index + 1;
  return {};
}

void AuthorityState::add_override_use(std::string_view digest, std::string_view envelope) {
  // Taken at its word: at worst somebody who can write to the log spends an override.
  used_.emplace(digest);
  const Result<SignedStatement> read = verify_statement(envelope, root_.root);
  if (read && read->statement.type == StatementType::kOverride) {
    used_.insert(read->statement.nonce);
  }
}

const LoggedStatement* AuthorityState::revocation_of(std::string_view digest,
                                                     const Place& place) const {
  const auto found = std::ranges::find_if(revocations_, [&](const LoggedStatement& revocation) {
    return revocation.statement().subject_digest == digest &&
           covers(revocation.statement().scope, place);
  });
  return found == revocations_.end() ? nullptr : &*found;
}

Result<LoggedStatement> AuthorityState::check_anchor(std::string_view anchor_digest,
                                                     const Place& place, std::int64_t now) const {
  FP_TRY(check_place(place));
  const std::string anchor(anchor_digest);
  if (revocation_of(anchor_digest, place) != nullptr) {
    return forbidden("anchor_revoked", "anchor " + anchor + " was revoked; it cannot come back");
  }
  const LoggedStatement* found = nullptr;
  bool elsewhere = false;
  for (const LoggedStatement& promotion : promotions_) {
    if (promotion.statement().subject_digest != anchor_digest) continue;
    elsewhere = true;
    if (covers(promotion.statement().scope, place)) found = &promotion;
  }
  if (!elsewhere) {
    return forbidden("anchor_not_promoted", "no promotion of anchor " + anchor +
                                                " is in the ledger; 'fieldprint anchor "
                                                "promote' makes one");
  }
  if (found == nullptr) {
    return forbidden("promotion_scope",
                     "anchor " + anchor + " is promoted, but not for " + describe(place));
  }
  for (const LoggedStatement& other : promotions_) {
    if (other.index > found->index &&
        other.statement().subject_name == found->statement().subject_name &&
        covers(other.statement().scope, place)) {
      return forbidden("anchor_superseded", "anchor " + anchor + " was replaced as '" +
                                                other.statement().subject_name + "' by " +
                                                other.statement().subject_digest);
    }
  }
  if (revocation_of(found->signed_statement.digest, place) != nullptr) {
    return forbidden("promotion_revoked", "the promotion of anchor " + anchor +
                                              " was withdrawn; promote it again to load it");
  }
  FP_TRY(
      check_window(found->statement().window, now, "promotion_not_yet_valid", "promotion_expired"));
  if (!verify_statement(found->signed_statement.envelope, root_.root)) {
    return forbidden("promotion_keys_retired", "the keys that promoted anchor " + anchor +
                                                   " no longer meet the threshold "
                                                   "of trust root version " +
                                                   std::to_string(root_.root.version) +
                                                   "; promote it again");
  }
  return *found;
}

Result<SignedStatement> AuthorityState::check_override(std::string_view envelope,
                                                       const OverrideUse& use) const {
  FP_TRY(check_place(use.place));
  FP_ASSIGN(SignedStatement accepted, verify_statement(envelope, root_.root));
  const Statement& s = accepted.statement;
  if (s.type != StatementType::kOverride) return wrong_kind(StatementType::kOverride, s.type);
  if (used_.contains(s.nonce) || used_.contains(accepted.digest)) {
    return forbidden("override_replayed", "override " + accepted.digest + " was used already");
  }
  if (!covers(s.scope, use.place)) {
    return forbidden("override_scope", "the override is for " + describe(s.scope) + ", not for " +
                                           describe(use.place));
  }
  if (s.subject_digest != use.anchor_digest) {
    return forbidden("override_target", "the override sets aside anchor " + s.subject_digest +
                                            ", in front stands " + use.anchor_digest);
  }
  const RequestScope& request = s.request;
  if ((!request.session.empty() && request.session != use.session) ||
      (!request.request_digest.empty() && request.request_digest != use.request_digest)) {
    return forbidden("override_request", "the override is for another session or request");
  }
  FP_TRY(check_window(s.window, use.now, "override_not_yet_valid", "override_expired"));
  return accepted;
}

}  // namespace fieldprint
