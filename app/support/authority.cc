#include "app/support/authority.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "app/support/paths.h"
#include "core/check.h"

namespace fieldprint::app {
namespace {

EntryKind entry_kind(StatementType type) {
  switch (type) {
    case StatementType::kPromotion:
      return EntryKind::kPromotion;
    case StatementType::kRevocation:
      return EntryKind::kRevocation;
    case StatementType::kOverride:
      return EntryKind::kOverride;
  }
  FP_UNREACHABLE();
}

bool has_role(const TrustRoot& root, AuthorityRole role, const SignerKey& key) {
  const std::vector<VerifierKey> keys = root.keys_of(role);
  return std::ranges::find(keys, key.verifier()) != keys.end();
}

std::size_t count_valid(const DsseEnvelope& envelope, const std::vector<VerifierKey>& keys) {
  const Result<DsseVerified> verified = dsse_verify(envelope, envelope.payload_type, keys, 1);
  return verified ? verified->signers.size() : 0;
}

bool signed_by(const DsseEnvelope& envelope, const SignerKey& key) {
  return count_valid(envelope, {key.verifier()}) == 1;
}

}  // namespace

Result<std::optional<DsseEnvelope>> read_envelope_file(const Settings& settings) {
  const std::string& file = settings.text("envelope");
  std::error_code ignored;
  if (file.empty() || !std::filesystem::exists(file, ignored)) return std::optional<DsseEnvelope>();
  FP_ASSIGN(const std::string text, read_text_file(file, kRootMaxEnvelope));
  FP_ASSIGN(DsseEnvelope envelope, dsse_parse(text));
  return std::optional(std::move(envelope));
}

Status write_envelope_file(const Settings& settings, const std::string& envelope) {
  return write_file_atomically(settings.text("envelope"), envelope + "\n");
}

Result<Signatures> add_signatures(DsseEnvelope& envelope, AuthorityRole role, const TrustRoot& root,
                                  const std::vector<SignerKey>& keys) {
  bool any = false;
  for (const SignerKey& key : keys) {
    if (!has_role(root, role, key)) continue;
    any = true;
    if (!signed_by(envelope, key)) dsse_add_signature(envelope, key);
  }
  if (!any) {
    return fail(ErrorKind::kForbidden, "authority_key_foreign",
                fmt::format("none of the keys here has the role '{}' in trust root version {}",
                            role_name(role), root.version),
                "key");
  }
  return Signatures{dsse_print(envelope), count_valid(envelope, root.keys_of(role)),
                    static_cast<std::size_t>(root.role(role).threshold)};
}

Result<Signatures> sign_or_cosign(const Settings& settings, const TrustStack& stack,
                                  const Statement& draft) {
  FP_ASSIGN(const std::vector<SignerKey> keys, load_authority_keys(settings, stack.folder));
  FP_ASSIGN(const std::optional<DsseEnvelope> begun, read_envelope_file(settings));
  DsseEnvelope envelope;
  if (begun) {
    envelope = *begun;
    FP_ASSIGN(const Statement said, parse_statement(envelope.untrusted_payload));
    if (said.type != draft.type || said.subject_digest != draft.subject_digest) {
      return fail(ErrorKind::kInvalid, "envelope_subject",
                  fmt::format("{} is a {} of {}, not a {} of {}", settings.text("envelope"),
                              statement_type_name(said.type), said.subject_digest,
                              statement_type_name(draft.type), draft.subject_digest),
                  "envelope");
    }
  } else {
    FP_ASSIGN(std::string payload, print_statement(draft));
    envelope = {kStatementPayloadType, std::move(payload), {}};
  }
  FP_ASSIGN(Signatures signatures, add_signatures(envelope, role_of(draft.type),
                                                  stack.registry->state().root().root, keys));
  if (!signatures.enough() && settings.text("envelope").empty()) {
    return fail(ErrorKind::kForbidden, "threshold_not_met",
                fmt::format("{} of {} needed signatures; --envelope FILE collects them",
                            signatures.held, signatures.needed));
  }
  return signatures;
}

Result<std::uint64_t> log_statement(TrustStack& stack, StatementType type,
                                    const std::string& envelope) {
  FP_TRY(stack.registry->refresh());
  AuthorityState trial = stack.registry->state();
  FP_TRY(trial.add_statement(stack.registry->checkpoint().size, type, envelope));
  FP_ASSIGN(const SignedStatement accepted, verify_statement(envelope, trial.root().root));
  const Statement& said = accepted.statement;
  if (type == StatementType::kPromotion && said.scope.tenant != kScopeAny &&
      said.scope.model_digest != kScopeAny) {
    // A promotion that lifts nothing (of a revoked anchor) is not worth an entry.
    FP_TRY(trial.check_anchor(said.subject_digest, {said.scope.tenant, said.scope.model_digest},
                              std::max(unix_now(), said.window.not_before)));
  }
  if (stack.ledger == nullptr) {
    return fail(ErrorKind::kForbidden, "ledger_read_only",
                fmt::format("the ledger's keys are not in {}: whoever runs the ledger must append "
                            "the envelope",
                            stack.folder.keys_dir()));
  }
  Entry entry;
  entry.kind = entry_kind(type);
  entry.subject = said.subject_digest;
  entry.body.emplace("envelope", envelope);
  entry.body.emplace("statement_digest", accepted.digest);
  FP_ASSIGN(const std::uint64_t index,
            stack.ledger->commit(entry, stack.ledger->strongest(), kLedgerPatience));
  FP_TRY(stack.registry->refresh());
  return index;
}

std::string time_text(std::int64_t seconds) {
  return fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(static_cast<std::time_t>(seconds)));
}

}  // namespace fieldprint::app
