#include "provenance/trust_root.h"

#include <algorithm>
#include <set>

#include "core/check.h"
#include "provenance/signatures.h"

namespace fieldprint {
namespace {

tl::unexpected<Error> invalid(const std::string& what, const char* param) {
  return fail(ErrorKind::kInvalid, "root_field_invalid", "trust root: " + what, param);
}

tl::unexpected<Error> bad_role(AuthorityRole role, const std::string& what) {
  return fail(ErrorKind::kInvalid, "root_role_invalid",
              "trust root: role " + std::string(role_name(role)) + " " + what, role_name(role));
}

Status check_authorities(const TrustRoot& root) {
  if (root.authorities.empty() || root.authorities.size() > kRootMaxAuthorities) {
    return invalid("1 to 32 authorities are needed", "authorities");
  }
  std::set<std::string> names;
  std::set<Ed25519PublicKey> keys;
  for (const VerifierKey& key : root.authorities) {
    if (key.type() != NoteKeyType::kEd25519) {
      return invalid("authority " + key.name() + " is not an Ed25519 signing key", "authorities");
    }
    if (!names.insert(key.name()).second || !keys.insert(key.key()).second) {
      return fail(ErrorKind::kInvalid, "root_key_duplicate",
                  "trust root: authority " + key.name() +
                      " repeats a name or a key; one key would count twice",
                  "authorities");
    }
  }
  return {};
}

Status check_roles(const TrustRoot& root) {
  for (const AuthorityRole role : kAuthorityRoles) {
    const RoleKeys& keys = root.role(role);
    std::set<std::string> seen;
    for (const std::string& name : keys.keys) {
      const bool known = std::ranges::any_of(
          root.authorities, [&](const VerifierKey& key) { return key.name() == name; });
      if (!known) return bad_role(role, "names '" + name + "', which is no authority");
      if (!seen.insert(name).second) return bad_role(role, "names '" + name + "' twice");
    }
    if (keys.threshold < 1 || keys.threshold > static_cast<std::int64_t>(keys.keys.size())) {
      return bad_role(role, "needs " + std::to_string(keys.threshold) + " of " +
                                std::to_string(keys.keys.size()) + " keys");
    }
  }
  return {};
}

Status check_anchor_keys(const TrustRoot& root) {
  if (root.anchor_keys.empty() || root.anchor_keys.size() > kRootMaxAnchorKeys) {
    return invalid("1 to 16 anchor keys are needed", "anchor_keys");
  }
  std::set<std::string> seen;
  for (const AnchorKey& key : root.anchor_keys) {
    if (!check_key_name(key.name)) return invalid("an anchor key has no valid name", "anchor_keys");
    const Result<P256PublicKey> parsed = P256PublicKey::from_pem(key.pem);
    if (!parsed || parsed->pem() != key.pem) {
      return invalid("anchor key " + key.name + " is not a P-256 public key in PEM", "anchor_keys");
    }
    if (!seen.insert(key.name).second || !seen.insert(key.pem).second) {
      return fail(ErrorKind::kInvalid, "root_key_duplicate",
                  "trust root: anchor key " + key.name + " repeats a name or a key", "anchor_keys");
    }
  }
  return {};
}

// `whose`: "its own" or "the current", for the message.
Status check_threshold(const DsseEnvelope& envelope, const TrustRoot& by, const char* whose) {
  const RoleKeys& role = by.role(AuthorityRole::kRoot);
  FP_ASSIGN(const std::vector<VerifierKey> signers,
            valid_signers(envelope, by.keys_of(AuthorityRole::kRoot)));
  const auto needed = static_cast<std::size_t>(role.threshold);
  if (signers.size() >= needed) return {};
  return fail(ErrorKind::kForbidden, "root_threshold",
              "trust root: by " + std::string(whose) + " root role only " +
                  signers_text(signers, signers.size(), needed));
}

}  // namespace

const char* role_name(AuthorityRole role) {
  switch (role) {
    case AuthorityRole::kRoot:
      return "root";
    case AuthorityRole::kPromotion:
      return "promotion";
    case AuthorityRole::kRevocation:
      return "revocation";
    case AuthorityRole::kOverride:
      return "override";
  }
  FP_UNREACHABLE();
}

AuthorityRole role_of(StatementType type) {
  switch (type) {
    case StatementType::kPromotion:
      return AuthorityRole::kPromotion;
    case StatementType::kRevocation:
      return AuthorityRole::kRevocation;
    case StatementType::kOverride:
      return AuthorityRole::kOverride;
  }
  FP_UNREACHABLE();
}

std::vector<VerifierKey> TrustRoot::keys_of(AuthorityRole which) const {
  const std::vector<std::string>& names = role(which).keys;
  std::vector<VerifierKey> keys;
  for (const VerifierKey& key : authorities) {
    if (std::ranges::find(names, key.name()) != names.end()) keys.push_back(key);
  }
  return keys;
}

Status check_root(const TrustRoot& root) {
  if (root.version < 1 || root.version > kTimeMax) return invalid("version starts at 1", "version");
  if (root.version == 1 ? !root.previous.empty() : !is_digest_text(root.previous)) {
    return invalid("previous is the digest of the root before this one, empty for the first",
                   "previous");
  }
  if (root.issued_at < 0 || root.issued_at > kTimeMax) {
    return invalid("issued_at is out of range", "issued_at");
  }
  if (root.policy.empty() || root.policy.size() > kRootMaxPolicy) {
    return invalid("policy has 1 to 16384 bytes", "policy");
  }
  if (root.checkpoint_max_age < 1 || root.checkpoint_max_age > kCheckpointMaxAge) {
    return invalid("checkpoint_max_age is 1 second to 366 days", "checkpoint_max_age");
  }
  FP_TRY(check_authorities(root));
  FP_TRY(check_roles(root));
  return check_anchor_keys(root);
}

Result<std::string> sign_root(const TrustRoot& root, std::span<const SignerKey* const> keys) {
  FP_ASSIGN(std::string payload, print_root(root));
  DsseEnvelope envelope{kRootPayloadType, std::move(payload), {}};
  for (const SignerKey* key : keys) dsse_add_signature(envelope, *key);
  return dsse_print(envelope);
}

Result<SignedRoot> open_root(std::string_view text) {
  FP_ASSIGN(const DsseEnvelope envelope, read_envelope(text, kRootMaxEnvelope, kRootPayloadType));
  SignedRoot opened;
  FP_ASSIGN(opened.root, parse_root(envelope.untrusted_payload));
  FP_TRY(check_threshold(envelope, opened.root, "its own"));
  opened.digest = statement_digest(envelope.untrusted_payload);
  opened.envelope = text;
  return opened;
}

Result<SignedRoot> open_successor(const SignedRoot& current, std::string_view text) {
  // The keys that are trusted already speak first; only then is the document read.
  FP_ASSIGN(const DsseEnvelope envelope, read_envelope(text, kRootMaxEnvelope, kRootPayloadType));
  FP_TRY(check_threshold(envelope, current.root, "the current root's"));
  FP_ASSIGN(SignedRoot next, open_root(text));
  if (next.root.version != current.root.version + 1) {
    return fail(ErrorKind::kForbidden, "root_version",
                "trust root: version " + std::to_string(next.root.version) +
                    " cannot follow version " + std::to_string(current.root.version));
  }
  if (next.root.previous != current.digest) {
    return fail(ErrorKind::kForbidden, "root_previous",
                "trust root: version " + std::to_string(next.root.version) +
                    " follows another root than " + current.digest);
  }
  return next;
}

}  // namespace fieldprint
