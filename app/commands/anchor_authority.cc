// anchor promote, revoke, override: statements by an authority.
#include <fmt/format.h>

#include <filesystem>

#include "anchor/document.h"
#include "anchor/signed.h"
#include "app/commands/commands.h"
#include "app/support/authority.h"
#include "app/support/paths.h"
#include "codec/hex.h"
#include "crypto/sha256.h"

namespace fieldprint::app {
namespace {

// What a statement is about, without its rows: a broken anchor must be revocable too.
struct Subject {
  std::string name;
  std::string digest;
  std::string model_digest;  // empty: not known
};

Result<Subject> subject_of(const TrustFolder& trust, const std::string& named) {
  if (is_digest_text(named)) return Subject{"anchor", named, ""};
  FP_ASSIGN(const std::string folder, find_anchor(trust, named));
  FP_ASSIGN(const std::string json, read_text_file(folder + "/anchor.json", kAnchorMaxJson));
  Subject subject{std::filesystem::path(folder).filename().string(), digest_string(sha256(json)),
                  ""};
  const auto document =
      parse_anchor_json({reinterpret_cast<const std::uint8_t*>(json.data()), json.size()});
  if (document) {
    subject.name = document->head.name;
    subject.model_digest = document->head.model_digest;
  }
  return subject;
}

// The fields that all three share.
Statement draft_of(const Settings& settings, StatementType type, const Subject& subject) {
  Statement draft;
  draft.type = type;
  draft.subject_name = subject.name;
  draft.subject_digest = subject.digest;
  draft.issued_at = unix_now();
  draft.evidence = settings.list("evidence");
  draft.reason = settings.text("reason");
  return draft;
}

void take_place_in_line(const AuthorityState& state, Statement& draft) {
  const auto next = state.next_in_line(draft.type, draft.subject_name, draft.scope);
  draft.sequence = next.sequence;
  draft.previous = next.previous;
}

// For envelopes that others must still sign.
Result<int> pass_on(const Settings& settings, const Signatures& signatures) {
  FP_TRY(write_envelope_file(settings, signatures.envelope));
  fmt::print("{} of {} signatures in {}: give it to the next signer, who calls the same command\n",
             signatures.held, signatures.needed, settings.text("envelope"));
  return 0;
}

Result<std::string> anchor_to_promote(const CommandInput& input, const TrustStack& stack) {
  if (!input.positionals.empty()) return find_anchor(stack.folder, input.positionals[0]);
  const AuthorityState state = stack.registry->state();
  return only_anchor(stack.folder, [&](const std::string& folder) {
    const auto anchor = load_signed_anchor(folder, state.root().root.anchor_keys);
    if (!anchor) return false;
    const Place place{input.settings.text("tenant"), anchor->artifact.model_digest};
    return !state.check_anchor(anchor->artifact.digest, place, unix_now());
  });
}

}  // namespace

Result<int> cmd_anchor_promote(const CommandInput& input) {
  const Settings& settings = input.settings;
  FP_ASSIGN(const std::unique_ptr<TrustStack> stack, open_trust_stack(settings));
  FP_ASSIGN(const std::string folder, anchor_to_promote(input, *stack));
  const AuthorityState state = stack->registry->state();
  FP_ASSIGN(const SignedAnchor anchor, load_signed_anchor(folder, state.root().root.anchor_keys));
  const AnchorArtifact& artifact = anchor.artifact;
  const Place place{settings.text("tenant"), artifact.model_digest};
  Statement draft = draft_of(settings, StatementType::kPromotion,
                             {artifact.name, artifact.digest, artifact.model_digest});
  draft.evidence.push_back(anchor.bundle_digest);
  draft.scope = {place.tenant, place.model_digest};
  draft.window = {draft.issued_at, draft.issued_at + settings.integer("days") * 86400};
  take_place_in_line(state, draft);
  FP_ASSIGN(const Signatures signatures, sign_or_cosign(settings, *stack, draft));
  if (!signatures.enough()) return pass_on(settings, signatures);
  FP_ASSIGN(const std::uint64_t index,
            log_statement(*stack, StatementType::kPromotion, signatures.envelope));
  FP_ASSIGN(const PromotedAnchor promoted, stack->registry->load(folder, place));
  fmt::print(
      "anchor '{}' promoted for {}\n"
      "  anchor     {}\n"
      "  statement  {} by {}\n"
      "  ledger     entry {}, in the tree of {}\n"
      "  holds      until {}\n"
      "next:  fieldprint run --anchor {}\n",
      artifact.name, describe(place), artifact.digest, promoted.authority.promotion_digest,
      fmt::join(promoted.authority.promoted_by, ", "), index, stack->registry->checkpoint().size,
      time_text(promoted.authority.not_after),
      std::filesystem::path(folder).lexically_normal().filename().string());
  return 0;
}

Result<int> cmd_anchor_revoke(const CommandInput& input) {
  const Settings& settings = input.settings;
  if (input.positionals.empty()) {
    return fail(ErrorKind::kInvalid, "missing_argument",
                "'anchor revoke' needs the anchor's name, folder or digest");
  }
  FP_ASSIGN(const std::unique_ptr<TrustStack> stack, open_trust_stack(settings));
  FP_ASSIGN(Subject subject, subject_of(stack->folder, input.positionals[0]));
  const AuthorityState state = stack->registry->state();
  if (settings.flag("promotion-only")) {
    if (subject.model_digest.empty()) {
      return fail(ErrorKind::kInvalid, "anchor_missing",
                  "--promotion-only needs the anchor's folder, to know its model", "anchor");
    }
    FP_ASSIGN(const LoggedStatement promotion,
              state.check_anchor(subject.digest, {settings.text("tenant"), subject.model_digest},
                                 unix_now()));
    subject.digest = promotion.signed_statement.digest;
  }
  Statement draft = draft_of(settings, StatementType::kRevocation, subject);
  // Everywhere, unless a tenant is named: a revocation that misses a place is worse than one
  // that reaches too far.
  const bool narrowed = settings.given("tenant");
  draft.scope = {narrowed ? settings.text("tenant") : std::string(kScopeAny),
                 std::string(kScopeAny)};
  take_place_in_line(state, draft);
  FP_ASSIGN(const Signatures signatures, sign_or_cosign(settings, *stack, draft));
  if (!signatures.enough()) return pass_on(settings, signatures);
  FP_ASSIGN(const std::uint64_t index,
            log_statement(*stack, StatementType::kRevocation, signatures.envelope));
  fmt::print("{} '{}' revoked for {}\n  {}\n  ledger entry {}\n",
             settings.flag("promotion-only") ? "promotion of" : "anchor", subject.name,
             describe(draft.scope), subject.digest, index);
  fmt::print("servers of this ledger stop serving it within seconds; {}\n",
             settings.flag("promotion-only") ? "promote it again to bring it back"
                                             : "this digest does not come back");
  return 0;
}

Result<int> cmd_anchor_override(const CommandInput& input) {
  const Settings& settings = input.settings;
  if (input.positionals.empty() || settings.text("envelope").empty()) {
    return fail(ErrorKind::kInvalid, "missing_argument",
                "'anchor override' needs the anchor that is set aside, and --envelope FILE for "
                "the signed leave");
  }
  FP_ASSIGN(const std::unique_ptr<TrustStack> stack, open_trust_stack(settings));
  FP_ASSIGN(const Subject subject, subject_of(stack->folder, input.positionals[0]));
  Statement draft = draft_of(settings, StatementType::kOverride, subject);
  draft.scope = {settings.text("tenant"),
                 subject.model_digest.empty() ? std::string(kScopeAny) : subject.model_digest};
  draft.window = {draft.issued_at, draft.issued_at + settings.integer("minutes") * 60};
  const auto nonce = random_array<16>();
  draft.nonce = hex_encode(nonce);
  draft.request = {settings.text("session"), settings.text("request-digest")};
  FP_ASSIGN(const Signatures signatures, sign_or_cosign(settings, *stack, draft));
  if (!signatures.enough()) return pass_on(settings, signatures);
  FP_ASSIGN(const SignedStatement leave,
            verify_statement(signatures.envelope, stack->registry->state().root().root));
  FP_TRY(write_envelope_file(settings, signatures.envelope));
  fmt::print("leave for one request without anchor '{}' in {}\n  {} by {}\n  until {}\n",
             subject.name, settings.text("envelope"), leave.digest, fmt::join(leave.signers, ", "),
             time_text(leave.statement.window.not_after));
  return 0;
}

}  // namespace fieldprint::app
