// Printers of /v1/fieldprint: anchors and revocations.
#include <utility>

#include "api/print_json.h"
#include "api/response.h"
#include "core/check.h"
#include "crypto/sha256.h"

namespace fieldprint {
namespace {

OrderedJson outcome_json(const RevocationOutcome& outcome) {
  OrderedJson out = {{"ended", outcome.ended},
                     {"reanchored", outcome.reanchored},
                     {"anchor_pages", outcome.anchor_pages},
                     {"prefix_pages", outcome.prefix_pages},
                     {"replacement", text_or_null(outcome.replacement)},
                     {"rows_overwritten", outcome.scrub.empty()}};
  if (!outcome.not_replaced.empty()) out["not_replaced"] = outcome.not_replaced;
  return out;
}

OrderedJson authority_json(const AnchorAuthority& authority) {
  return {{"anchor_key", authority.anchor_key},
          {"promotion", authority.promotion_digest},
          {"promotion_index", authority.promotion_index},
          {"promoted_by", authority.promoted_by},
          {"not_after", authority.not_after},
          {"policy_epoch", authority.policy_epoch}};
}

// The recipe and its operating point: what counts as a breach, and how often falsely.
OrderedJson recipe_json(const SupervisionModel* model) {
  if (model == nullptr) return nullptr;
  const SupervisionRecipe& recipe = model->recipe();
  OrderedJson out = {{"recipe", digest_string(model->digest())},
                     {"fingerprints", true},
                     {"verifiable_elsewhere", recipe.tolerance.has_value()},
                     {"coherence", nullptr}};
  if (!recipe.coherence || !recipe.judge) return out;
  const CoherenceJudge& judge = *recipe.judge;
  out["coherence"] = {{"layer", recipe.coherence->layer},
                      {"dims", recipe.coherence->dims},
                      {"limit", rounded(judge.limit, 1e6)},
                      {"limit_alpha", judge.limit_alpha},
                      {"alpha", judge.alpha},
                      {"mean_bound", judge.mean_bound},
                      {"calibration_sessions", judge.sessions},
                      {"calibration_segments", judge.segments}};
  return out;
}

}  // namespace

AnchorInfo anchor_info(const AnchorStanding& standing) {
  const AnchorArtifact& artifact = *standing.binding.artifact;
  AnchorInfo info;
  info.digest = artifact.digest;
  info.name = artifact.name;
  info.mode = anchor_mode_name(standing.binding.mode);
  info.wrap = artifact.recipe.wrap;
  info.tokens = artifact.length();
  if (standing.authority) {
    info.trust = AnchorTrust::kPromoted;
    info.promotion = standing.authority->promotion_digest;
  }
  return info;
}

std::string print_anchor_report(const AnchorReport& report, const std::optional<AnchorInfo>& front,
                                const SupervisionModel* supervision) {
  OrderedJson endings = OrderedJson::array();
  for (const AnchorEnding& ending : report.endings) {
    OrderedJson entry = {{"digest", ending.digest},
                         {"cause", text_or_null(ending.cause)},
                         {"code", ending.code},
                         {"at", ending.at}};
    entry.update(outcome_json(ending.outcome));
    endings.push_back(std::move(entry));
  }
  OrderedJson shown = front ? anchor_json(*front) : OrderedJson(nullptr);
  if (front) shown["supervision"] = recipe_json(supervision);
  if (report.front && report.front->authority) {
    shown["authority"] = authority_json(*report.front->authority);
  }
  OrderedJson trust = nullptr;  // no trust folder: nothing is checked
  if (!report.root_digest.empty()) {
    trust = {{"tenant", report.tenant},
             {"root", report.root_digest},
             {"root_version", report.root_version},
             {"policy_epoch", report.policy_epoch},
             {"checkpoint",
              {{"size", report.checkpoint_size},
               {"time", report.checkpoint_time},
               {"max_age", report.checkpoint_max_age}}}};
  }
  return dump_json({{"front", std::move(shown)},
                    {"refusing", report.state.refusing},
                    {"revoked", report.state.revoked},
                    {"endings", std::move(endings)},
                    {"trust", std::move(trust)}});
}

std::string print_revocation(const RevocationReceipt& receipt) {
  return dump_json(
      {{"statement", receipt.statement_digest},
       {"subject", receipt.subject_digest},
       {"index", receipt.index},
       {"in_place", receipt.in_place},
       {"outcome", receipt.outcome ? outcome_json(*receipt.outcome) : OrderedJson(nullptr)}});
}

}  // namespace fieldprint
