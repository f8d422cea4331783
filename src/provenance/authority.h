// Statements with authority: signed by enough distinct keys of the role that may say such a
// thing. Order of checks: signatures, then the payload's meaning.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "provenance/statement.h"
#include "provenance/trust_root.h"

namespace fieldprint {

inline constexpr std::size_t kStatementMaxEnvelope = 49152;  // fits a ledger leaf

struct SignedStatement {
  Statement statement;
  std::string digest;                // "sha256:<hex>" of the payload
  std::vector<std::string> signers;  // names of distinct keys of the role, at least threshold
  std::string envelope;              // the DSSE text
};

// Errors: those of the envelope (dsse_*), envelope_type (another payload type),
// signature_duplicate (a key signed twice), threshold_not_met (message says how many held),
// those of parse_statement.
Result<SignedStatement> verify_statement(std::string_view envelope, const TrustRoot& root);

// An envelope with one signature of each key. Errors: those of print_statement.
Result<std::string> sign_statement(const Statement& statement,
                                   std::span<const SignerKey* const> keys);

// Adds a signature to somebody's envelope after checking that its payload is a statement.
// Errors: dsse_*, envelope_type, those of parse_statement, signature_duplicate (the key has
// signed already).
Result<std::string> cosign_statement(std::string_view envelope, const SignerKey& key);

}  // namespace fieldprint
