// What an authority says about an anchor: promotion, revocation, override.
//
// Each is an in-toto Statement v1 whose predicate is one of ours (docs/formats/statements.md).
// The bytes are canonical JSON, so that a statement has one digest: the SHA-256 of its
// payload, which the next statement of its line, the log and receipts name it by.
// A statement alone carries no authority: see provenance/authority.h.
//
// Source: in-toto/attestation spec/v1/statement.md. Unlike that text, fields that are not
// known are refused: one could narrow what was granted (decision 0020).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "provenance/scope.h"

namespace fieldprint {

inline constexpr std::size_t kStatementMaxBytes = 16384;
inline constexpr std::size_t kStatementMaxValues = 512;
inline constexpr int kStatementMaxDepth = 6;
inline constexpr std::size_t kStatementMaxEvidence = 32;
inline constexpr std::size_t kStatementMaxReason = 512;
inline constexpr std::size_t kStatementMaxName = 128;
inline constexpr std::size_t kSessionMaxBytes = 128;
inline constexpr std::int64_t kOverrideMaxSeconds = 7 * 86400;
inline constexpr std::int64_t kTimeMax = 253402300799;  // last second of the year 9999

inline constexpr const char* kStatementPayloadType = "application/vnd.in-toto+json";

enum class StatementType : std::uint8_t { kPromotion, kRevocation, kOverride };
const char* statement_type_name(StatementType type);  // "promotion"
const char* predicate_type_uri(StatementType type);   // "https://fieldprint/promotion/v1"

// Seconds since 1970. Holds while not_before <= now < not_after.
struct TimeWindow {
  std::int64_t not_before = 0;
  std::int64_t not_after = 0;
};

// Which requests an override is for. Empty: not narrowed in this respect.
struct RequestScope {
  std::string session;         // exact id, at most kSessionMaxBytes
  std::string request_digest;  // "sha256:<hex>" as the server computes it
};

struct Statement {
  StatementType type = StatementType::kPromotion;
  // Promotion: the anchor (digest of anchor.json). Revocation: an anchor, or a promotion
  // statement. Override: the anchor that is set aside.
  std::string subject_name;
  std::string subject_digest;  // "sha256:<hex>"
  Scope scope;
  std::int64_t issued_at = 0;
  std::vector<std::string> evidence;  // digests of what the decision rests on
  std::string reason;                 // goes into a public log: no personal data
  TimeWindow window;                  // promotion, override. A revocation never ends
  // Promotion: place in its line (name and scope). Revocation: among the revocations of its
  // scope. First is 1.
  std::int64_t sequence = 0;
  std::string previous;  // digest of the statement with sequence - 1; empty for the first
  std::string nonce;     // override: 32 lower-case hex digits, good for one use
  RequestScope request;  // override
};

// Errors: statement_field_invalid (a field breaks its rule or does not belong to the type),
// scope_invalid.
Status check_statement(const Statement& statement);

// The payload's bytes. Errors: as check_statement; statement_too_large.
Result<std::string> print_statement(const Statement& statement);

// Reads canonical bytes only. Fuzz entry point. Errors: statement_type_unknown (another
// _type or predicateType, named in the message), statement_too_large (bytes, depth or number
// of values), statement_corrupt, statement_unknown_field, statement_field_invalid,
// scope_invalid.
Result<Statement> parse_statement(std::string_view payload);

// "sha256:<hex>" of the payload.
std::string statement_digest(std::string_view payload);

}  // namespace fieldprint
