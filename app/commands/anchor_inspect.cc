// anchor inspect: the checks of the registry one by one, each with its answer.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "anchor/signed.h"
#include "app/commands/commands.h"
#include "app/support/authority.h"
#include "app/support/format.h"
#include "app/support/supervision.h"
#include "supervisor/recipe.h"

namespace fieldprint::app {
namespace {

struct Check {
  std::string name;
  std::string code;  // "ok" or an error's
  std::string text;
};

class Report {
 public:
  // Returns whether it holds.
  template <typename T>
  bool add(const char* name, const Result<T>& result, const std::string& good) {
    checks_.push_back(
        {name, result ? "ok" : result.error().code, result ? good : result.error().message});
    return result.has_value();
  }
  void print(bool as_json, const std::string& folder) const {
    if (!as_json) {
      for (const Check& check : checks_) {
        fmt::print("{:<11} {:<4} {}\n", check.name, check.code == "ok" ? "ok" : "NO",
                   check.code == "ok" ? check.text : check.code + ": " + check.text);
      }
      return;
    }
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const Check& check : checks_) {
      list.push_back({{"check", check.name}, {"code", check.code}, {"text", check.text}});
    }
    const nlohmann::ordered_json json = {{"folder", folder}, {"checks", std::move(list)}};
    fmt::print("{}\n", json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }

 private:
  std::vector<Check> checks_;
};

// The ledger's side of the checks.
bool inspect_authority(Report& report, AnchorRegistry& registry, const std::string& folder,
                       const AnchorArtifact& artifact, const Place& place) {
  const CheckpointView head = registry.checkpoint();
  bool good = report.add("checkpoint", registry.check_fresh(),
                         fmt::format("{} entries, of {}, at most {} s old", head.size,
                                     time_text(head.time_s), registry.checkpoint_max_age()));
  const auto promotion = registry.state().check_anchor(artifact.digest, place, unix_now());
  std::string text;
  if (promotion) {
    const Statement& s = promotion->statement();
    text = fmt::format("for {} by {}, number {} of its line, until {}", describe(s.scope),
                       fmt::join(promotion->signed_statement.signers, ", "), s.sequence,
                       time_text(s.window.not_after));
    if (!s.reason.empty()) text += fmt::format("; reason: {}", s.reason);
  }
  good = report.add("promotion", promotion, text) && good;
  const auto loaded = registry.load(folder, place);
  if (loaded) {
    text = fmt::format("entry {}, proven under the checkpoint; policy epoch {}",
                       loaded->authority.promotion_index, loaded->authority.policy_epoch);
  }
  return report.add("ledger", loaded, text) && good;
}

}  // namespace

Result<int> cmd_anchor_inspect(const CommandInput& input) {
  const Settings& settings = input.settings;
  FP_ASSIGN(const TrustFolder trust, open_trust(settings));
  FP_ASSIGN(const std::string folder,
            input.positionals.empty() ? only_anchor(trust, [](const std::string&) { return true; })
                                      : find_anchor(trust, input.positionals[0]));
  Report report;
  const auto plain = load_anchor(folder);
  bool good = report.add("folder", plain,
                         plain ? fmt::format("'{}' {}, {} tokens", plain->name,
                                             short_digest(plain->digest), plain->length())
                               : "");
  if (plain) {
    const auto recipe = plain->supervision.empty() ? Result<SupervisionRecipe>(SupervisionRecipe{})
                                                   : parse_supervision_recipe(plain->supervision);
    good = report.add("supervision", recipe, supervision_line(*plain)) && good;
  }
  RegistryOptions options;
  options.checkpoint_max_age = settings.integer("max-checkpoint-age");
  const auto registry = AnchorRegistry::open(Env::real(), trust, options);
  good =
      report.add("trust root", registry,
                 registry ? fmt::format("version {}, {}", (*registry)->state().root().root.version,
                                        short_digest((*registry)->state().root().digest))
                          : "") &&
      good;
  if (registry) {
    const auto anchor = load_signed_anchor(folder, (*registry)->state().root().root.anchor_keys);
    good = report.add("signature", anchor,
                      anchor ? fmt::format("model.sig by key '{}'", anchor->key_name) : "") &&
           good;
    if (plain) {
      const Place place{settings.text("tenant"), plain->model_digest};
      good = inspect_authority(report, **registry, folder, *plain, place) && good;
    }
  }
  report.print(settings.flag("json"), folder);
  return good ? 0 : 2;
}

}  // namespace fieldprint::app
