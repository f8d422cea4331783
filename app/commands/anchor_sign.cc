#include <fmt/format.h>

#include <filesystem>

#include "anchor/signed.h"
#include "app/commands/commands.h"
#include "app/support/trust.h"
#include "crypto/key_file.h"
#include "crypto/sha256.h"

namespace fieldprint::app {
namespace {

Result<P256SecretKey> load_anchor_key(const Settings& settings, const TrustFolder& folder) {
  const std::vector<std::string>& named = settings.list("key");
  if (named.size() > 1) {
    return fail(ErrorKind::kInvalid, "option_conflict", "an anchor is signed with one key", "key");
  }
  const std::string file = named.empty() ? folder.keys_dir() + kAnchorKeyFile : named.front();
  FP_ASSIGN(const SecretBytes pem, read_secret_key_file(file));
  return P256SecretKey::from_pem(pem.view());
}

bool is_unsigned(const std::string& folder) {
  std::error_code ignored;
  return !std::filesystem::exists(folder + "/" + kBundleName, ignored);
}

// The ledger's entry that an anchor was signed; it carries no authority.
Entry signed_entry(const LoadedAnchor& anchor, const std::string& bundle_digest) {
  Entry entry;
  entry.kind = EntryKind::kAnchor;
  entry.subject = anchor.artifact.digest;
  entry.body.emplace("model_digest", anchor.artifact.model_digest);
  entry.body.emplace("bundle_digest", bundle_digest);
  entry.body.emplace("tokens", std::int64_t{anchor.artifact.length()});
  if (is_name(anchor.artifact.name, kMaxSubjectBytes)) {
    entry.body.emplace("name", anchor.artifact.name);
  }
  return entry;
}

}  // namespace

Result<int> cmd_anchor_sign(const CommandInput& input) {
  FP_ASSIGN(const TrustFolder folder, open_trust(input.settings));
  FP_ASSIGN(const std::string anchor_folder, input.positionals.empty()
                                                 ? only_anchor(folder, is_unsigned)
                                                 : find_anchor(folder, input.positionals[0]));
  FP_ASSIGN(const P256SecretKey key, load_anchor_key(input.settings, folder));
  FP_ASSIGN(const LoadedAnchor anchor, sign_anchor_folder(anchor_folder, key));
  // Loaded again, as a server would: also says whether the key is one the root knows.
  const Result<SignedAnchor> again =
      load_signed_anchor(anchor_folder, folder.newest.root.anchor_keys);
  if (!again && again.error().code != "anchor_key_unknown") return tl::unexpected(again.error());
  fmt::print("anchor '{}' signed: {}\n", anchor.artifact.name, anchor.artifact.digest);
  if (!again) {
    fmt::print("with a key that the trust root does not know, so it cannot be promoted here\n");
    return 0;
  }
  if (has_ledger_keys(folder)) {
    FP_ASSIGN(const std::unique_ptr<Ledger> ledger, open_ledger(folder));
    FP_ASSIGN(const std::uint64_t index, ledger->commit(signed_entry(anchor, again->bundle_digest),
                                                        Durability::kIntegrated, kLedgerPatience));
    fmt::print("ledger entry {}\n", index);
  }
  fmt::print("next:  fieldprint anchor promote {}\n",
             std::filesystem::path(anchor_folder).filename().string());
  return 0;
}

}  // namespace fieldprint::app
