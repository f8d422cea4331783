// anchor init: a trust root for one person, in one call.
#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

#include "app/commands/commands.h"
#include "app/support/paths.h"
#include "app/support/trust.h"
#include "codec/hex.h"
#include "crypto/key_file.h"
#include "ledger/ledger.h"

namespace fieldprint::app {
namespace {

constexpr std::int64_t kCheckpointAge = 86400;  // a day: a cut-off server stops within one
constexpr const char* kAuthority = "owner";
constexpr const char* kAnchorKey = "anchor";

struct NewKeys {
  SignerKey log;
  SignerKey cosigner;
  SignerKey authority;
  P256SecretKey anchor;
};

Result<NewKeys> make_keys() {
  // The log's name must be its own: two logs of one name could pass for each other.
  const std::array<std::uint8_t, 8> id = random_array<8>();
  const std::string origin = "fieldprint.local/" + hex_encode(id);
  FP_ASSIGN(SignerKey log, SignerKey::generate(origin, NoteKeyType::kEd25519));
  FP_ASSIGN(SignerKey cosigner, SignerKey::generate(origin, NoteKeyType::kCosignature));
  FP_ASSIGN(SignerKey authority, SignerKey::generate(kAuthority, NoteKeyType::kEd25519));
  return NewKeys{std::move(log), std::move(cosigner), std::move(authority),
                 P256SecretKey::generate()};
}

Status write_note_key(const std::string& base, const SignerKey& key) {
  const SecretBytes secret = key.print();
  FP_TRY(write_secret_key_file(base + ".key", secret.view()));
  return write_public_key_file(base + ".pub", key.verifier().print() + "\n");
}

Status write_keys(const std::string& dir, const NewKeys& keys) {
  FP_TRY(write_note_key(dir + "/log", keys.log));
  FP_TRY(write_note_key(dir + "/cosigner", keys.cosigner));
  FP_TRY(write_note_key(dir + "/authority", keys.authority));
  const SecretBytes pem = keys.anchor.pem();
  FP_TRY(write_secret_key_file(dir + kAnchorKeyFile, pem.view()));
  return write_public_key_file(dir + "/anchor.pub.pem", keys.anchor.public_key().pem());
}

TrustRoot first_root(const NewKeys& keys) {
  TrustRoot root;
  root.issued_at = unix_now();
  root.policy = fmt::format("log {}\nwitness operator {}\nquorum operator\n",
                            keys.log.verifier().print(), keys.cosigner.verifier().print());
  root.checkpoint_max_age = kCheckpointAge;
  root.authorities = {keys.authority.verifier()};
  for (const AuthorityRole role : kAuthorityRoles) root.role(role) = {{kAuthority}, 1};
  root.anchor_keys = {{kAnchorKey, keys.anchor.public_key().pem()}};
  return root;
}

constexpr const char* kText =
    "trust root made in {0}\n"
    "\n"
    "  root.json             who is believed: version 1, {1}\n"
    "  keys/authority.key    promotes, revokes, overrides, and changes the root ('{2}')\n"
    "  keys/anchor.pem       signs anchors (P-256; public part in keys/anchor.pub.pem)\n"
    "  keys/log.key          signs the ledger '{3}'\n"
    "  keys/cosigner.key     dates the ledger's checkpoints\n"
    "  ledger/               every promotion and revocation, append-only\n"
    "  anchors/              where compiled anchors go\n"
    "\n"
    "Back up keys/ and root.json to a place that is not this machine. Whoever has\n"
    "keys/authority.key decides what this assistant is; without it nothing can be promoted or\n"
    "revoked any more. Serving needs the log's keys only: keep this one elsewhere if you can.\n"
    "One key has all the power here. 'fieldprint anchor rotate --add-authority FILE\n"
    "--threshold promotion=2' shares it.\n"
    "\n"
    "next:  fieldprint anchor compile --text FILE\n"
    "       fieldprint anchor sign\n"
    "       fieldprint anchor promote\n";

}  // namespace

Result<int> cmd_anchor_init(const CommandInput& input) {
  const std::string dir = trust_dir(input.settings);
  if (has_trust(input.settings)) {
    return fail(ErrorKind::kInvalid, "trust_exists",
                fmt::format("{} has a trust root already; nothing was changed. 'fieldprint anchor "
                            "status' shows it",
                            dir));
  }
  FP_ASSIGN(const NewKeys keys, make_keys());
  const std::string key_dir = dir + "/keys";
  FP_TRY(make_folder(key_dir));
  FP_TRY(make_folder(dir + "/anchors"));
  FP_TRY(write_keys(key_dir, keys));
  FP_ASSIGN(LedgerKeys ledger_keys, load_ledger_keys(TrustFolder{dir, {}, {}}));
  FP_TRY(Ledger::create(dir + "/ledger", ledger_keys));
  // Last: without root.json there is no trust root, and init may be called again elsewhere.
  const SignerKey* const signer = &keys.authority;
  FP_ASSIGN(const std::string envelope, sign_root(first_root(keys), {&signer, 1}));
  FP_ASSIGN(const TrustFolder folder, create_trust_folder(Env::real(), dir, envelope));
  fmt::print(fmt::runtime(kText), dir, folder.newest.digest.substr(0, 19), kAuthority,
             keys.log.name());
  return 0;
}

}  // namespace fieldprint::app
