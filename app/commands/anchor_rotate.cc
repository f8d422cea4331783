// anchor rotate: the next version of the trust root, signed by the old and the new thresholds.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "app/commands/commands.h"
#include "app/support/authority.h"
#include "app/support/paths.h"
#include "crypto/dsse.h"
#include "crypto/key_file.h"

namespace fieldprint::app {
namespace {

bool wants_change(const Settings& settings) {
  for (const char* name : {"add-authority", "remove-authority", "threshold"}) {
    if (!settings.list(name).empty()) return true;
  }
  return !settings.text("new-authority").empty() || !settings.text("policy").empty() ||
         settings.flag("new-anchor-key");
}

void add_to_every_role(TrustRoot& root, const VerifierKey& key) {
  root.authorities.push_back(key);
  for (const AuthorityRole role : kAuthorityRoles) root.role(role).keys.push_back(key.name());
}

Status remove_authority(TrustRoot& root, const std::string& name) {
  const auto known = std::ranges::find(root.authorities, name, &VerifierKey::name);
  if (known == root.authorities.end()) {
    return fail(ErrorKind::kInvalid, "authority_unknown",
                fmt::format("'{}' is no authority of trust root version {}", name, root.version),
                "remove-authority");
  }
  root.authorities.erase(known);
  for (const AuthorityRole role : kAuthorityRoles) std::erase(root.role(role).keys, name);
  return {};
}

Status set_threshold(TrustRoot& root, const std::string& text) {
  const std::size_t sign = text.find('=');
  std::int64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto parsed = sign == std::string::npos
                          ? std::from_chars_result{end, std::errc::invalid_argument}
                          : std::from_chars(text.data() + sign + 1, end, value);
  for (const AuthorityRole role : kAuthorityRoles) {
    if (parsed.ec != std::errc{} || parsed.ptr != end) break;
    if (text.substr(0, sign) != role_name(role)) continue;
    root.role(role).threshold = value;
    return {};
  }
  return fail(ErrorKind::kInvalid, "option_value",
              fmt::format("'{}' is not root=N, promotion=N, revocation=N or override=N", text),
              "threshold");
}

Status write_authority(const TrustFolder& folder, const SignerKey& key) {
  const std::string base = folder.keys_dir() + "/authority-" + key.name();
  const SecretBytes secret = key.print();
  FP_TRY(write_secret_key_file(base + ".key", secret.view()));
  FP_TRY(write_public_key_file(base + ".pub", key.verifier().print() + "\n"));
  fmt::print("new key  {}.key: back it up\n", base);
  return {};
}

// The old key stays beside the new one: it signs nothing that the next root believes, and
// whoever needs to know what it signed may need it.
Status write_anchor_key(const TrustFolder& folder, std::int64_t version, const P256SecretKey& key) {
  const std::string file = folder.keys_dir() + kAnchorKeyFile;
  const std::string kept = fmt::format("{}.before-{}", file, version);
  std::error_code error;
  if (std::filesystem::exists(file, error)) std::filesystem::rename(file, kept, error);
  if (error) {
    return fail(ErrorKind::kIo, "io_write", fmt::format("{}: {}", kept, error.message()));
  }
  const SecretBytes pem = key.pem();
  FP_TRY(write_secret_key_file(file, pem.view()));
  fmt::print("new key  {} (the old one is {})\n", file, kept);
  return write_file_atomically(folder.keys_dir() + "/anchor.pub.pem", key.public_key().pem());
}

Result<std::optional<SignerKey>> make_authority(const std::string& name) {
  if (name.empty()) return std::optional<SignerKey>();
  if (name.find('/') != std::string::npos) {
    return fail(ErrorKind::kInvalid, "key_name_invalid", "the name becomes a file's: no '/'",
                "new-authority");
  }
  FP_ASSIGN(SignerKey key, SignerKey::generate(name, NoteKeyType::kEd25519));
  return std::optional(std::move(key));
}

Result<TrustRoot> next_root(const Settings& settings, const TrustFolder& folder,
                            const SignedRoot& current) {
  TrustRoot next = current.root;
  next.version += 1;
  next.previous = current.digest;
  next.issued_at = unix_now();
  for (const std::string& name : settings.list("remove-authority")) {
    FP_TRY(remove_authority(next, name));
  }
  for (const std::string& file : settings.list("add-authority")) {
    FP_ASSIGN(const VerifierKey key, load_verifier_key(file));
    add_to_every_role(next, key);
  }
  for (const std::string& text : settings.list("threshold")) FP_TRY(set_threshold(next, text));
  if (!settings.text("policy").empty()) {
    FP_ASSIGN(next.policy, read_text_file(settings.text("policy"), kRootMaxPolicy));
    FP_TRY(Policy::parse(next.policy));
  }
  FP_ASSIGN(const std::optional<SignerKey> authority,
            make_authority(settings.text("new-authority")));
  if (authority) add_to_every_role(next, authority->verifier());
  std::optional<P256SecretKey> anchor_key;
  if (settings.flag("new-anchor-key")) {
    anchor_key = P256SecretKey::generate();
    next.anchor_keys = {{fmt::format("anchor-{}", next.version), anchor_key->public_key().pem()}};
  }
  FP_TRY(check_root(next));  // no key is written for a root that would be refused
  if (authority) FP_TRY(write_authority(folder, *authority));
  if (anchor_key) FP_TRY(write_anchor_key(folder, next.version, *anchor_key));
  return next;
}

// Signatures of old and new root keys that are at hand.
Result<std::string> sign(DsseEnvelope& envelope, const SignedRoot& current, const TrustRoot& next,
                         const std::vector<SignerKey>& keys) {
  const auto by_old = add_signatures(envelope, AuthorityRole::kRoot, current.root, keys);
  const auto by_new = add_signatures(envelope, AuthorityRole::kRoot, next, keys);
  if (!by_old && !by_new) return tl::unexpected(by_old.error());
  return dsse_print(envelope);
}

Status log_root(TrustStack& stack, const SignedRoot& next) {
  if (stack.ledger == nullptr) {
    return fail(ErrorKind::kForbidden, "ledger_read_only",
                "the ledger's keys are not here: whoever runs the ledger must append the root");
  }
  Entry entry;
  entry.kind = EntryKind::kTrustRoot;
  entry.subject = next.digest;
  entry.body.emplace("envelope", next.envelope);
  entry.body.emplace("version", next.root.version);
  FP_TRY(stack.ledger->commit(entry, stack.ledger->strongest(), kLedgerPatience));
  // The ledger first: a root that is only here would stop every reader (root_unknown).
  FP_TRY(save_successor(Env::real(), stack.folder, next.envelope));
  return stack.registry->refresh();
}

void print_done(const TrustStack& stack, const SignedRoot& next) {
  fmt::print("trust root version {}, {}\n", next.root.version, next.digest);
  const AuthorityState state = stack.registry->state();
  for (const LoggedStatement& promotion : state.promotions()) {
    const Statement& s = promotion.statement();
    const Place place{s.scope.tenant, s.scope.model_digest};
    const auto standing = state.check_anchor(s.subject_digest, place, unix_now());
    if (!standing && standing.error().code == "promotion_keys_retired") {
      fmt::print("  promote again: '{}' {} (its signers no longer suffice)\n", s.subject_name,
                 s.subject_digest);
    }
  }
  fmt::print("give root.json to those who verify; back up the new keys\n");
}

}  // namespace

Result<int> cmd_anchor_rotate(const CommandInput& input) {
  const Settings& settings = input.settings;
  FP_ASSIGN(const std::unique_ptr<TrustStack> stack, open_trust_stack(settings));
  const SignedRoot current = stack->registry->state().root();
  FP_ASSIGN(const std::optional<DsseEnvelope> begun, read_envelope_file(settings));
  if (begun.has_value() == wants_change(settings)) {
    return fail(ErrorKind::kInvalid, begun ? "option_conflict" : "missing_argument",
                begun ? "the envelope holds the next root already; only --key goes with it"
                      : "say what changes: --new-authority, --add-authority, --remove-authority, "
                        "--threshold, --new-anchor-key or --policy");
  }
  DsseEnvelope unfinished;
  TrustRoot next;
  if (begun) {
    unfinished = *begun;
    FP_ASSIGN(next, parse_root(begun->untrusted_payload));
  } else {
    FP_ASSIGN(next, next_root(settings, stack->folder, current));
    FP_ASSIGN(std::string payload, print_root(next));
    unfinished = {kRootPayloadType, std::move(payload), {}};
  }
  // After next_root: a key made just now signs too.
  FP_ASSIGN(const std::vector<SignerKey> keys, load_authority_keys(settings, stack->folder));
  FP_ASSIGN(const std::string envelope, sign(unfinished, current, next, keys));
  const Result<SignedRoot> opened = open_successor(current, envelope);
  if (!opened && opened.error().code == "root_threshold" && !settings.text("envelope").empty()) {
    FP_TRY(write_envelope_file(settings, envelope));
    fmt::print(
        "{}\n{}: give it to the next signer, who calls 'fieldprint anchor rotate "
        "--envelope' with it\n",
        opened.error().message, settings.text("envelope"));
    return 0;
  }
  if (!opened) return tl::unexpected(opened.error());
  FP_TRY(log_root(*stack, *opened));
  print_done(*stack, *opened);
  return 0;
}

}  // namespace fieldprint::app
