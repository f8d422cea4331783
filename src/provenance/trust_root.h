// The trust root: the one document a verifier must have got by a way it trusts. Everything
// else follows from it: which log is believed and with which witnesses, who may promote,
// revoke, override and change the root, and whose signature makes an anchor.
//
// Canonical JSON in a DSSE envelope signed by its own root role (docs/formats/trust-root.md).
// A successor has the next version, names its predecessor's digest, and is signed by the
// thresholds of both (as TUF's root, specification section 5.3).
// Thread rule: plain values and pure functions.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "crypto/note_key.h"
#include "crypto/p256.h"
#include "provenance/statement.h"

namespace fieldprint {

inline constexpr std::size_t kRootMaxBytes = 65536;      // of the document
inline constexpr std::size_t kRootMaxEnvelope = 131072;  // of the signed text
inline constexpr std::size_t kRootMaxValues = 1024;
inline constexpr int kRootMaxDepth = 5;
inline constexpr std::size_t kRootMaxAuthorities = 32;
inline constexpr std::size_t kRootMaxAnchorKeys = 16;
inline constexpr std::size_t kRootMaxPolicy = 16384;
inline constexpr std::int64_t kCheckpointMaxAge = std::int64_t{366} * 86400;
inline constexpr const char* kRootPayloadType = "application/vnd.fieldprint.trust-root+json";

// Who may do what. Each role has its own keys and threshold.
enum class AuthorityRole : std::uint8_t { kRoot, kPromotion, kRevocation, kOverride };
inline constexpr std::array kAuthorityRoles = {AuthorityRole::kRoot, AuthorityRole::kPromotion,
                                               AuthorityRole::kRevocation,
                                               AuthorityRole::kOverride};
const char* role_name(AuthorityRole role);  // "root"
AuthorityRole role_of(StatementType type);

struct RoleKeys {
  std::vector<std::string> keys;  // names of authorities
  std::int64_t threshold = 1;     // distinct keys that must sign, 1..keys.size()
};

struct AnchorKey {
  std::string name;  // a key name, for people
  std::string pem;   // P-256 public key as P256PublicKey::pem() prints it
};

struct TrustRoot {
  std::int64_t version = 1;
  std::string previous;  // digest of version - 1; empty for the first
  std::int64_t issued_at = 0;
  std::string policy;                    // C2SP tlog-policy: the log, its witnesses, a quorum
  std::int64_t checkpoint_max_age = 0;   // seconds, 1..kCheckpointMaxAge
  std::vector<VerifierKey> authorities;  // distinct names and distinct keys
  std::array<RoleKeys, kAuthorityRoles.size()> roles;
  std::vector<AnchorKey> anchor_keys;

  const RoleKeys& role(AuthorityRole role) const { return roles[static_cast<std::size_t>(role)]; }
  RoleKeys& role(AuthorityRole role) { return roles[static_cast<std::size_t>(role)]; }
  // The keys of a role, in the order of `authorities`.
  std::vector<VerifierKey> keys_of(AuthorityRole role) const;
};

// A root whose signatures hold, with the exact bytes that were signed.
struct SignedRoot {
  TrustRoot root;
  std::string digest;    // "sha256:<hex>" of the payload
  std::string envelope;  // the DSSE text
};

// Errors: root_field_invalid; root_key_duplicate (one key under two names would count twice);
// root_role_invalid (an unknown key, or a threshold that nobody can meet).
Status check_root(const TrustRoot& root);
// The payload. Errors: as check_root.
Result<std::string> print_root(const TrustRoot& root);
// Reads canonical bytes only. Fuzz entry point. Errors: root_corrupt, root_too_large,
// root_format (another format or spec), root_unknown_field, and those of check_root.
Result<TrustRoot> parse_root(std::string_view payload);

// Signs with every key given. Errors: as print_root.
Result<std::string> sign_root(const TrustRoot& root, std::span<const SignerKey* const> keys);

// Reads a root that is believed because of where it came from: it must still be signed by its
// own root role. Errors: those of parse_root and the envelope; root_threshold;
// signature_duplicate.
Result<SignedRoot> open_root(std::string_view envelope);
// Reads the root that follows `current`. Errors: also root_version (not the next one),
// root_previous (follows another root), root_threshold (message says whose: old or new).
Result<SignedRoot> open_successor(const SignedRoot& current, std::string_view envelope);

}  // namespace fieldprint
