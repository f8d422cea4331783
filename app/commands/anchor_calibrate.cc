// anchor calibrate: measures how the model behaves behind an anchor and stores what supervision
// needs to know about it in the anchor's folder.
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "anchor/bundle.h"
#include "app/calibrate/plot.h"
#include "app/commands/commands.h"
#include "app/support/format.h"
#include "app/support/paths.h"
#include "app/support/trust.h"
#include "core/progress.h"
#include "crypto/sha256.h"

namespace fieldprint::app {
namespace {

constexpr double kFalseRates[] = {0.0, 0.01, 0.05, 0.1, 0.2};
constexpr double kStated = 0.01;  // the false-alarm rate that people ask for

bool is_signed(const std::string& folder) {
  std::error_code ignored;
  return std::filesystem::exists(folder + "/" + kBundleName, ignored);
}
bool is_unsigned(const std::string& folder) { return !is_signed(folder); }

Status check_unsigned(const Settings& settings, const std::string& folder) {
  if (is_unsigned(folder) || settings.flag("force")) return {};
  return fail(ErrorKind::kForbidden, "anchor_signed",
              fmt::format("{} is signed, and a recipe would make it another anchor: compile the "
                          "text again into a new folder, or drop the signature with --force, then "
                          "sign and promote it again",
                          folder),
              "force");
}

Result<std::vector<Dialogue>> dialogues_of(const Settings& settings) {
  const std::string& file = settings.text("dialogues");
  if (file.empty()) return parse_dialogues(default_dialogues());
  FP_ASSIGN(const std::string text, read_text_file(file, kMaxDialogueBytes));
  return parse_dialogues(text);
}

Status write_plot(const std::string& file, const CalibrationOutcome& outcome,
                  const std::string& title) {
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  out << calibration_svg(outcome, title);
  out.close();
  if (out) return {};
  return fail(ErrorKind::kIo, "io_write", fmt::format("cannot write {}", file), "plot");
}

double share_at_limit(const AngleGroup& group, double limit) {
  double reached = 0;
  for (const double angle : group.angles) reached += angle < limit ? 0 : 1;  // NaN reaches it
  return group.angles.empty() ? 0 : reached / static_cast<double>(group.angles.size());
}

nlohmann::ordered_json group_json(const AngleGroup& group, const std::optional<RocCurve>& roc,
                                  double limit) {
  nlohmann::ordered_json json = {{"dialogues", group.dialogues}, {"segments", group.angles.size()}};
  if (!roc) return json;
  json["auc"] = roc->area;
  json["true_rate_at_1_percent"] = roc->true_rate_at(kStated);
  json["true_rate_at_limit"] = share_at_limit(group, limit);
  return json;
}

void print_json(const CalibrationOutcome& outcome, const AnchorArtifact& anchor,
                const std::string& folder) {
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (const LayerTrial& trial : outcome.layers) {
    layers.push_back({{"layer", trial.layer}, {"auc", trial.area}, {"distance", trial.distance}});
  }
  const CoherenceJudge& judge = *outcome.recipe.judge;
  const FingerprintTolerance& tolerance = *outcome.recipe.tolerance;
  const nlohmann::ordered_json json = {
      {"name", anchor.name},
      {"digest", anchor.digest},
      {"supervision", digest_string(sha256(anchor.supervision))},
      {"folder", folder},
      {"layer", outcome.recipe.coherence->layer},
      {"dims", outcome.recipe.coherence->dims},
      {"layers", layers},
      {"healthy", group_json(outcome.healthy, {}, judge.limit)},
      {"other_identity", group_json(outcome.other, outcome.other_roc, judge.limit)},
      {"breaking", group_json(outcome.breaking, outcome.breaking_roc, judge.limit)},
      {"limit",
       {{"angle", judge.limit},
        {"bound", judge.limit_alpha},
        {"k", outcome.limit.k},
        {"n", outcome.limit.n}}},
      {"detector",
       {{"alpha", judge.alpha},
        {"mean", outcome.healthy_score},
        {"mean_bound", judge.mean_bound},
        {"low", judge.map.low},
        {"high", judge.map.high}}},
      {"fingerprint",
       {{"step", outcome.recipe.fingerprint.step},
        {"runs", tolerance.runs},
        {"mean_limit", tolerance.mean_limit},
        {"outlier", tolerance.outlier},
        {"outlier_share_limit", tolerance.outlier_share_limit},
        {"min_tokens", tolerance.min_tokens}}}};
  fmt::print("{}\n", json.dump());
}

void print_roc(const CalibrationOutcome& outcome) {
  fmt::print("\n  false alarms   other identity   breaking dialogues   (share of segments)\n");
  for (const double rate : kFalseRates) {
    const std::string breaking =
        outcome.breaking_roc ? fmt::format("{:.2f}", outcome.breaking_roc->true_rate_at(rate))
                             : "-";
    fmt::print("  {:<12}   {:<14}   {}\n", fmt::format("<= {:.0f} %", rate * 100),
               fmt::format("{:.2f}", outcome.other_roc.true_rate_at(rate)), breaking);
  }
  fmt::print("  {:<12}   {:<14}   {}\n\n", "AUC", fmt::format("{:.3f}", outcome.other_roc.area),
             outcome.breaking_roc ? fmt::format("{:.3f}", outcome.breaking_roc->area) : "-");
}

void print_limits(const CalibrationOutcome& outcome) {
  const CoherenceJudge& judge = *outcome.recipe.judge;
  const AngleLimit& limit = outcome.limit;
  fmt::print(
      "limit        {:.3f} rad: a healthy segment reaches it with probability <= {}/{} = {:.2f} %\n"
      "             (if it is exchangeable with these); finds {:.0f} % of the other identities'\n"
      "             segments and {:.0f} % of the breaking dialogues'\n",
      judge.limit, limit.k, limit.n + 1, limit.bound * 100,
      100 * share_at_limit(outcome.other, judge.limit),
      100 * share_at_limit(outcome.breaking, judge.limit));
  if (limit.bound > kStated) {
    fmt::print(
        "             {} segments cannot support 1 %: {} are needed, so bring more dialogues\n",
        limit.n, static_cast<int>(1 / kStated) - 1);
  }
  fmt::print(
      "detector     score 0 up to {:.3f} rad, 1 from {:.3f}; healthy mean {:.3f}, taken as <= "
      "{:.3f}\n             (95 %, {} dialogues); then at least {:.0f} segments between false "
      "alarms\n",
      judge.map.low, judge.map.high, outcome.healthy_score, judge.mean_bound, judge.sessions,
      1 / judge.alpha);
}

void print_text(const CalibrationOutcome& outcome, const AnchorArtifact& anchor,
                const std::string& folder) {
  const CoherenceRecipe& coherence = *outcome.recipe.coherence;
  std::string trials;
  for (const LayerTrial& trial : outcome.layers) {
    trials +=
        fmt::format("  block {}: AUC {:.3f}, {:.1f} sd", trial.layer, trial.area, trial.distance);
  }
  fmt::print(
      "angle        after block {}, {} dimensions, fitted on {} states\n"
      "             compared:{}\n",
      coherence.layer, coherence.dims, coherence.samples, trials);
  fmt::print(
      "held out     {} healthy dialogues ({} segments), the same under other identities "
      "({}),\n             {} breaking dialogues behind the anchor ({}; not all of them "
      "succeed)\n",
      outcome.healthy.dialogues, outcome.healthy.angles.size(), outcome.other.angles.size(),
      outcome.breaking.dialogues, outcome.breaking.angles.size());
  print_roc(outcome);
  print_limits(outcome);
  const FingerprintTolerance& tolerance = *outcome.recipe.tolerance;
  fmt::print(
      "fingerprint  step {}; another honest machine may be {:.2f} steps off on average, "
      "from {} runs\n             of {} tokens or more with the other KV type and the other "
      "profile\n",
      outcome.recipe.fingerprint.step, tolerance.mean_limit, tolerance.runs, tolerance.min_tokens);
  fmt::print("\nanchor '{}' calibrated: {}\nwritten to {}, {}, not signed\n", anchor.name,
             anchor.digest, folder, human_bytes(anchor.supervision.size()));
}

}  // namespace

Result<int> cmd_anchor_calibrate(const CommandInput& input) {
  const Settings& settings = input.settings;
  const TrustFolder trust{trust_dir(settings), {}, {}};
  FP_ASSIGN(const std::string folder, input.positionals.empty()
                                          ? only_anchor(trust, is_unsigned)
                                          : find_anchor(trust, input.positionals[0]));
  FP_TRY(check_unsigned(settings, folder));
  FP_ASSIGN(AnchorArtifact anchor, load_anchor(folder));
  FP_ASSIGN(const std::vector<Dialogue> dialogues, dialogues_of(settings));
  FP_ASSIGN(const ModelStack model, open_model(settings));
  CalibrateOptions options;
  options.alpha = settings.number("alpha");
  options.limit_alpha = settings.number("limit-alpha");
  const ProgressStyle style = progress_style_for(2);
  constexpr std::uint64_t kParts = 1000;
  Progress bar("calibrating", kParts, style, stderr_progress_sink(style));
  FP_ASSIGN(const CalibrationOutcome outcome, calibrate(settings, model, anchor, dialogues, options,
                                                        [&](std::size_t done, std::size_t total) {
                                                          bar.update(kParts * done / total);
                                                        }));
  bar.finish();
  anchor.supervision = print_supervision_recipe(outcome.recipe);
  FP_TRY(replace_anchor(anchor, folder));
  if (const std::string& plot = settings.text("plot"); !plot.empty()) {
    FP_TRY(write_plot(plot, outcome,
                      fmt::format("anchor '{}' on {}", anchor.name,
                                  std::filesystem::path(model.path).filename().string())));
  }
  if (settings.flag("json")) {
    print_json(outcome, anchor, folder);
    return 0;
  }
  print_text(outcome, anchor, folder);
  if (has_trust(settings)) {
    fmt::print("next:  fieldprint anchor sign {}\n",
               std::filesystem::path(folder).lexically_normal().filename().string());
  }
  return 0;
}

}  // namespace fieldprint::app
