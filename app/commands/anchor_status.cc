// anchor status: the trust folder at a glance.
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "anchor/signed.h"
#include "app/commands/commands.h"
#include "app/support/authority.h"
#include "app/support/format.h"

namespace fieldprint::app {
namespace {

using Json = nlohmann::ordered_json;

std::string standing_of(const AuthorityState& state, const Settings& settings,
                        const std::string& folder, std::string& digest, std::string& until) {
  const auto anchor = load_signed_anchor(folder, state.root().root.anchor_keys);
  if (!anchor) {
    const auto plain = load_anchor(folder);
    if (plain) digest = plain->digest;
    return anchor.error().code;
  }
  digest = anchor->artifact.digest;
  const Place place{settings.text("tenant"), anchor->artifact.model_digest};
  const auto promotion = state.check_anchor(digest, place, unix_now());
  if (!promotion) return promotion.error().code;
  until = time_text(promotion->statement().window.not_after);
  return "promoted";
}

Json roles_json(const TrustRoot& root) {
  Json roles = Json::object();
  for (const AuthorityRole role : kAuthorityRoles) {
    roles[role_name(role)] = {{"keys", root.role(role).keys},
                              {"threshold", root.role(role).threshold}};
  }
  return roles;
}

void print_roles(const TrustRoot& root) {
  for (const AuthorityRole role : kAuthorityRoles) {
    fmt::print("  {:<11} {} of: {}\n", role_name(role), root.role(role).threshold,
               fmt::join(root.role(role).keys, ", "));
  }
}

}  // namespace

Result<int> cmd_anchor_status(const CommandInput& input) {
  const Settings& settings = input.settings;
  FP_ASSIGN(const TrustFolder folder, open_trust(settings));
  RegistryOptions options;
  options.checkpoint_max_age = settings.integer("max-checkpoint-age");
  FP_ASSIGN(const std::unique_ptr<AnchorRegistry> registry,
            AnchorRegistry::open(Env::real(), folder, options));
  const AuthorityState state = registry->state();
  const CheckpointView head = registry->checkpoint();
  const Status fresh = registry->check_fresh();
  const TrustRoot& root = state.root().root;
  Json anchors = Json::array();
  for (const std::string& path : anchor_folders(folder.anchors_dir())) {
    std::string digest;
    std::string until;
    const std::string standing = standing_of(state, settings, path, digest, until);
    anchors.push_back({{"name", std::filesystem::path(path).filename().string()},
                       {"digest", digest},
                       {"standing", standing},
                       {"until", until}});
  }
  if (settings.flag("json")) {
    const Json json = {{"trust_folder", folder.dir},
                       {"root", {{"version", root.version}, {"digest", state.root().digest}}},
                       {"roles", roles_json(root)},
                       {"ledger_size", head.size},
                       {"checkpoint_time", head.time_s},
                       {"checkpoint", fresh ? "fresh" : fresh.error().code},
                       {"policy_epoch", state.policy_epoch()},
                       {"promotions", state.promotions().size()},
                       {"revocations", state.revocations().size()},
                       {"ignored_entries", state.ignored().size()},
                       {"anchors", anchors}};
    fmt::print("{}\n", json.dump());
    return 0;
  }
  fmt::print("trust root  version {}, {}, in {}\n", root.version, short_digest(state.root().digest),
             folder.dir);
  print_roles(root);
  fmt::print("ledger      {} entries, checkpoint of {} ({})\n", head.size, time_text(head.time_s),
             fresh ? std::string("fresh") : fresh.error().code);
  fmt::print("statements  {} promotions, {} revocations, policy epoch {}\n",
             state.promotions().size(), state.revocations().size(), state.policy_epoch());
  for (const IgnoredEntry& entry : state.ignored()) {
    fmt::print("  entry {} carries no authority: {}: {}\n", entry.index, entry.code, entry.message);
  }
  fmt::print("anchors     {}\n", anchors.empty() ? "none" : "");
  for (const Json& anchor : anchors) {
    const std::string until = anchor["until"];
    fmt::print("  {:<20} {} {}{}\n", anchor["name"].get<std::string>(),
               short_digest(anchor["digest"].get<std::string>()),
               anchor["standing"].get<std::string>(), until.empty() ? "" : " until " + until);
  }
  return 0;
}

}  // namespace fieldprint::app
