#include "app/support/trust.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "app/support/paths.h"
#include "http/witness_transport.h"
#include "ledger/witness_client.h"

namespace fieldprint::app {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kMaxListed = 1000;

bool is_there(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

std::vector<std::string> authority_files(const std::string& dir) {
  std::vector<std::string> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(dir, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("authority") && name.ends_with(".key")) {
      files.push_back(entry.path().string());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

std::string trust_dir(const Settings& settings) {
  const std::string& dir = settings.text("trust-dir");
  return dir.empty() ? state_dir(settings) + "/trust" : dir;
}

bool has_trust(const Settings& settings) { return is_there(trust_dir(settings) + "/root.json"); }

Result<TrustFolder> open_trust(const Settings& settings) {
  return open_trust_folder(Env::real(), trust_dir(settings));
}

Result<LedgerKeys> load_ledger_keys(const TrustFolder& folder) {
  FP_ASSIGN(SignerKey log, SignerKey::load(folder.keys_dir() + kLogKeyFile));
  FP_ASSIGN(SignerKey cosigner, SignerKey::load(folder.keys_dir() + kCosignerKeyFile));
  return LedgerKeys{std::move(log), std::move(cosigner)};
}

bool has_ledger_keys(const TrustFolder& folder) {
  return is_there(folder.keys_dir() + kLogKeyFile) &&
         is_there(folder.keys_dir() + kCosignerKeyFile);
}

Result<std::unique_ptr<Ledger>> open_ledger(const TrustFolder& folder) {
  FP_ASSIGN(LedgerKeys keys, load_ledger_keys(folder));
  FP_ASSIGN(const Policy policy, Policy::parse(folder.newest.root.policy));
  LedgerOptions options;
  if (has_witness_urls(policy)) {
    FP_ASSIGN(options.witnesses, WitnessClient::make(policy, make_witness_transport()));
  }
  FP_ASSIGN(std::unique_ptr<Ledger> ledger,
            Ledger::open(folder.ledger_dir(), std::move(keys), options));
  FP_TRY(ledger->refresh_checkpoint());
  return ledger;
}

Result<std::vector<SignerKey>> load_authority_keys(const Settings& settings,
                                                   const TrustFolder& folder) {
  const std::vector<std::string>& named = settings.list("key");
  const std::vector<std::string> files = named.empty() ? authority_files(folder.keys_dir()) : named;
  if (files.empty()) {
    return fail(ErrorKind::kNotFound, "authority_key_missing",
                fmt::format("no authority key in {}; --key FILE names one", folder.keys_dir()),
                "key");
  }
  std::vector<SignerKey> keys;
  for (const std::string& file : files) {
    FP_ASSIGN(SignerKey key, SignerKey::load(file));
    keys.push_back(std::move(key));
  }
  return keys;
}

Result<std::string> find_anchor(const TrustFolder& folder, const std::string& name) {
  if (name.find('/') != std::string::npos || is_there(name + "/anchor.json")) return name;
  if (name.empty() || name.front() == '.') {
    return fail(ErrorKind::kInvalid, "anchor_name_invalid",
                fmt::format("'{}' is neither an anchor's name nor a folder", name), "anchor");
  }
  const std::string kept = folder.anchors_dir() + "/" + name;
  if (is_there(kept)) return kept;
  return fail(
      ErrorKind::kNotFound, "anchor_missing",
      fmt::format("there is no anchor '{}' in {}, and no such folder", name, folder.anchors_dir()),
      "anchor");
}

std::vector<std::string> anchor_folders(const std::string& dir) {
  std::vector<std::string> folders;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(dir, error)) {
    if (is_there((entry.path() / "anchor.json").string())) folders.push_back(entry.path().string());
    if (folders.size() >= kMaxListed) break;
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

Result<std::string> only_anchor(const TrustFolder& folder, const IsCandidate& is_candidate) {
  const std::vector<std::string> folders = anchor_folders(folder.anchors_dir());
  std::vector<std::string> candidates;
  std::copy_if(folders.begin(), folders.end(), std::back_inserter(candidates), is_candidate);
  if (candidates.size() == 1) return candidates.front();
  if (folders.size() == 1) return folders.front();
  if (folders.empty()) {
    return fail(ErrorKind::kNotFound, "anchor_missing",
                fmt::format("there is no anchor in {}; 'fieldprint anchor compile --text FILE' "
                            "makes one",
                            folder.anchors_dir()));
  }
  std::string names;
  for (const std::string& one : candidates.empty() ? folders : candidates) {
    names += (names.empty() ? "" : ", ") + fs::path(one).filename().string();
  }
  return fail(ErrorKind::kInvalid, "anchor_ambiguous",
              fmt::format("which anchor? Name one of: {}", names), "anchor");
}

Result<std::unique_ptr<TrustStack>> open_trust_stack(const Settings& settings) {
  auto stack = std::make_unique<TrustStack>();
  FP_ASSIGN(stack->folder, open_trust(settings));
  if (has_ledger_keys(stack->folder)) {
    FP_ASSIGN(stack->ledger, open_ledger(stack->folder));
  }
  RegistryOptions options;
  options.checkpoint_max_age = settings.integer("max-checkpoint-age");
  FP_ASSIGN(stack->registry, AnchorRegistry::open(Env::real(), stack->folder, options));
  return stack;
}

}  // namespace fieldprint::app
