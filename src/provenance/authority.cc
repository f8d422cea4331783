#include "provenance/authority.h"

#include <algorithm>

#include "provenance/signatures.h"

namespace fieldprint {
namespace {

tl::unexpected<Error> too_few(const std::string& who, const std::string& text) {
  return fail(ErrorKind::kForbidden, "threshold_not_met", who + ": " + text);
}

}  // namespace

Result<SignedStatement> verify_statement(std::string_view text, const TrustRoot& root) {
  FP_ASSIGN(const DsseEnvelope envelope,
            read_envelope(text, kStatementMaxEnvelope, kStatementPayloadType));
  FP_ASSIGN(const std::vector<VerifierKey> signers, valid_signers(envelope, root.authorities));
  // Which role counts is known only from the payload; without any authority nobody reads it.
  if (signers.empty()) return too_few("the statement", "no authority of the trust root signed it");
  SignedStatement result;
  FP_ASSIGN(result.statement, parse_statement(envelope.untrusted_payload));
  const RoleKeys& role = root.role(role_of(result.statement.type));
  const std::size_t held = count_signers(signers, role.keys);
  if (held < static_cast<std::size_t>(role.threshold)) {
    return too_few(std::string("the ") + statement_type_name(result.statement.type),
                   signers_text(signers, held, static_cast<std::size_t>(role.threshold)));
  }
  for (const VerifierKey& key : signers) {
    if (std::ranges::find(role.keys, key.name()) != role.keys.end()) {
      result.signers.push_back(key.name());
    }
  }
  result.digest = statement_digest(envelope.untrusted_payload);
  result.envelope = text;
  return result;
}

Result<std::string> sign_statement(const Statement& statement,
                                   std::span<const SignerKey* const> keys) {
  FP_ASSIGN(std::string payload, print_statement(statement));
  DsseEnvelope envelope{kStatementPayloadType, std::move(payload), {}};
  for (const SignerKey* key : keys) dsse_add_signature(envelope, *key);
  return dsse_print(envelope);
}

Result<std::string> cosign_statement(std::string_view text, const SignerKey& key) {
  FP_ASSIGN(DsseEnvelope envelope,
            read_envelope(text, kStatementMaxEnvelope, kStatementPayloadType));
  FP_TRY(parse_statement(envelope.untrusted_payload));
  FP_ASSIGN(const std::vector<VerifierKey> signers,
            valid_signers(envelope, std::span(&key.verifier(), 1)));
  if (!signers.empty()) {
    return fail(ErrorKind::kInvalid, "signature_duplicate",
                "key " + key.verifier().id_text() + " has signed this statement already");
  }
  dsse_add_signature(envelope, key);
  return dsse_print(envelope);
}

}  // namespace fieldprint
