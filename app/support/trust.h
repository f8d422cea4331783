// The trust folder as commands use it: where it is, its keys, its ledger, its anchors.
// docs/anchors.md is the guide for people.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "anchor/registry.h"
#include "app/config/settings.h"
#include "core/error.h"
#include "ledger/ledger.h"
#include "provenance/trust_folder.h"

namespace fieldprint::app {

inline constexpr std::chrono::milliseconds kLedgerPatience{30'000};
inline constexpr const char* kLogKeyFile = "/log.key";
inline constexpr const char* kCosignerKeyFile = "/cosigner.key";
inline constexpr const char* kAnchorKeyFile = "/anchor.pem";

// --trust-dir, else <state folder>/trust.
std::string trust_dir(const Settings& settings);
bool has_trust(const Settings& settings);
// Errors: those of open_trust_folder.
Result<TrustFolder> open_trust(const Settings& settings);

// The log's keys, of the trust folder. Errors: those of SignerKey::load.
Result<LedgerKeys> load_ledger_keys(const TrustFolder& folder);
// Whether this machine may write to the ledger.
bool has_ledger_keys(const TrustFolder& folder);
// Opens the ledger and dates its checkpoint now. Errors: those of Ledger::open and above.
Result<std::unique_ptr<Ledger>> open_ledger(const TrustFolder& folder);

// Authority keys: the files of --key, else every keys/authority*.key of the trust folder.
// Errors: authority_key_missing (there is none), those of SignerKey::load.
Result<std::vector<SignerKey>> load_authority_keys(const Settings& settings,
                                                   const TrustFolder& folder);

// The folder of an anchor that is named on the command line: a path (with '/', or a folder
// that exists), else a name in the trust folder's anchors/. Errors: anchor_missing,
// anchor_name_invalid (a name that is no plain file name).
Result<std::string> find_anchor(const TrustFolder& folder, const std::string& name);
// For commands without an argument: the one anchor in anchors/ that is a candidate, else the
// only one there is. Errors: anchor_missing, anchor_ambiguous (lists them).
using IsCandidate = std::function<bool(const std::string& folder)>;
Result<std::string> only_anchor(const TrustFolder& folder, const IsCandidate& is_candidate);
// Folders in anchors/ that hold an anchor.json, sorted.
std::vector<std::string> anchor_folders(const std::string& dir);

// A trust folder that serves: its ledger, if this machine has the keys, and its registry.
struct TrustStack {
  TrustFolder folder;
  std::unique_ptr<Ledger> ledger;  // null: no log keys here, so the ledger is only read
  std::unique_ptr<AnchorRegistry> registry;
};
// Errors: those of open_trust, open_ledger and AnchorRegistry::open.
Result<std::unique_ptr<TrustStack>> open_trust_stack(const Settings& settings);

}  // namespace fieldprint::app
