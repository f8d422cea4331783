// verify: checks a receipt from public keys alone, and says what was not checked.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "api/response.h"
#include "app/commands/commands.h"
#include "app/support/authority.h"
#include "app/support/paths.h"
#include "app/support/reexecute.h"
#include "app/support/trust.h"
#include "ledger/receipt_verify.h"
#include "supervisor/receipt_chain.h"

namespace fieldprint::app {
namespace {

constexpr std::size_t kMaxBodyBytes = std::size_t{64} << 20;
constexpr int kFailed = 2;

// Whose word counts: --trust-policy, --trust-root, or the trust folder of this machine.
struct Trust {
  Policy policy;
  std::string source;
  bool is_folder = false;
};

Result<Trust> choose_trust(const Settings& settings) {
  const std::string& policy_file = settings.text("trust-policy");
  const std::string& root_file = settings.text("trust-root");
  if (!policy_file.empty() && !root_file.empty())
    return fail(ErrorKind::kInvalid, "option_conflict",
                "--trust-policy and --trust-root both say whom to trust; keep one", "trust-policy");
  if (!policy_file.empty()) {
    FP_ASSIGN(const std::string text, read_text_file(policy_file, kRootMaxPolicy));
    FP_ASSIGN(Policy policy, Policy::parse(text));
    return Trust{std::move(policy), policy_file};
  }
  if (!root_file.empty()) {
    FP_ASSIGN(const std::string text, read_text_file(root_file, kRootMaxEnvelope));
    FP_ASSIGN(const SignedRoot root, open_root(text));
    FP_ASSIGN(Policy policy, Policy::parse(root.root.policy));
    return Trust{std::move(policy), fmt::format("{} ({})", root_file, root.digest)};
  }
  FP_ASSIGN(const TrustFolder folder, open_trust(settings));
  FP_ASSIGN(Policy policy, Policy::parse(folder.newest.root.policy));
  return Trust{std::move(policy), folder.dir, true};
}

Result<std::string> read_input(const std::string& path, std::size_t limit) {
  if (path == "-") return read_stdin(limit);
  return read_text_file(path, limit);
}

Result<ReceiptEvidence> read_evidence(const Settings& settings) {
  ReceiptEvidence evidence;
  if (!settings.text("request").empty()) {
    FP_ASSIGN(evidence.request, read_text_file(settings.text("request"), kMaxBodyBytes));
  }
  if (!settings.text("response").empty()) {
    FP_ASSIGN(const std::string body, read_text_file(settings.text("response"), kMaxBodyBytes));
    FP_ASSIGN(evidence.choices, response_texts(body));
  }
  return evidence;
}

ReceiptCheck make_check(const char* name, CheckOutcome outcome, const std::string& code,
                        const std::string& detail) {
  return {name, outcome, code, detail};
}

Result<AuthorityState> read_authority(const Settings& settings) {
  FP_ASSIGN(const TrustFolder folder, open_trust(settings));
  FP_ASSIGN(const std::unique_ptr<AnchorRegistry> registry,
            AnchorRegistry::open(Env::real(), folder));
  return registry->state();
}

// Whether the promotion that the receipt names is in this machine's copy of the ledger and
// is about the anchor that stood in front.
ReceiptCheck check_promotion(const Settings& settings, const Receipt& receipt, bool has_folder) {
  constexpr const char* kName = "promotion";
  const ReceiptAnchor& anchor = receipt.anchor;
  if (anchor.insecure != 0)
    return make_check(kName, CheckOutcome::kNotChecked, "",
                      "INSECURE: served with --insecure-anchors, nobody vouched for the anchor");
  if (anchor.promotion == kReceiptNone)
    return make_check(kName, CheckOutcome::kNotChecked, "", "no anchor stood in front at the end");
  if (!has_folder)
    return make_check(kName, CheckOutcome::kNotChecked, "",
                      "stated by the server; the ledger that holds it is not at hand");
  const auto state = read_authority(settings);
  if (!state)
    return make_check(kName, CheckOutcome::kNotChecked, "",
                      "the ledger could not be read: " + state.error().code);
  for (const LoggedStatement& promotion : state->promotions()) {
    if (promotion.signed_statement.digest != anchor.promotion) continue;
    if (promotion.statement().subject_digest != anchor.digests.back())
      return make_check(kName, CheckOutcome::kFails, "receipt_promotion_mismatch",
                        "the promotion named is of another anchor");
    return make_check(kName, CheckOutcome::kHolds, "",
                      fmt::format("ledger entry {}, signed by {}", promotion.index,
                                  fmt::join(promotion.signed_statement.signers, ", ")));
  }
  return make_check(kName, CheckOutcome::kFails, "receipt_promotion_unknown",
                    "the ledger here holds no accepted promotion of that digest");
}

Status add_reexecution(const Settings& settings, const ReceiptEvidence& evidence,
                       ReceiptReport& report) {
  if (!settings.flag("reexecute")) {
    report.add(make_check("reexecution", CheckOutcome::kNotChecked, "", "--reexecute not given"));
    return {};
  }
  if (!evidence.request)
    return fail(ErrorKind::kInvalid, "missing_argument",
                "--reexecute runs the request again: --request FILE gives it", "request");
  if (report.failed()) {
    report.add(make_check("reexecution", CheckOutcome::kNotChecked, "",
                          "not worth it: another check failed"));
    return {};
  }
  FP_ASSIGN(std::vector<ReceiptCheck> checks, reexecute(settings, report, evidence));
  for (ReceiptCheck& check : checks) report.add(std::move(check));
  return {};
}

std::string anchors_text(const Receipt& receipt) {
  const ReceiptAnchor& anchor = receipt.anchor;
  if (receipt.override_digest != kReceiptNone)
    return fmt::format("none, by override {}", receipt.override_digest);
  return fmt::format("{}{}, {}{}", anchor.digests.size() > 1 ? "changed; at the end " : "",
                     anchor.digests.back(), anchor.mode, anchor.insecure != 0 ? ", INSECURE" : "");
}

void print_table(const ReceiptReport& report, const Trust& trust) {
  const Receipt& receipt = report.receipt;
  fmt::print("receipt    {} of {}\n", receipt.id, receipt.response_id);
  fmt::print("issued     {}, log '{}'\n", time_text(receipt.issued_at), receipt.origin);
  fmt::print("model      {}\nprofile    {}\n", receipt.model_digest, receipt.numeric_profile);
  fmt::print("anchor     {}\n", anchors_text(receipt));
  fmt::print("trusted    {}\n\n", trust.source);
  std::vector<std::string> missing;
  for (const ReceiptCheck& check : report.checks) {
    const bool fails = check.outcome == CheckOutcome::kFails;
    if (check.outcome == CheckOutcome::kNotChecked) missing.push_back(check.name);
    fmt::print("{:<12} {:<12} {}{}\n", check.name,
               fails ? "FAILS" : check_outcome_name(check.outcome),
               fails ? check.code + ": " : std::string(), check.detail);
  }
  const std::string rest =
      missing.empty() ? std::string() : fmt::format(" Not checked: {}.", fmt::join(missing, ", "));
  fmt::print("\n{}{}\n", report.failed() ? "The receipt does NOT hold." : "What was checked holds.",
             rest);
}

void print_json(const ReceiptReport& report, const Trust& trust) {
  const Receipt& receipt = report.receipt;
  nlohmann::ordered_json checks = nlohmann::ordered_json::array();
  for (const ReceiptCheck& check : report.checks) {
    nlohmann::ordered_json entry = {{"name", check.name},
                                    {"outcome", check_outcome_name(check.outcome)},
                                    {"detail", check.detail}};
    if (!check.code.empty()) entry["code"] = check.code;
    checks.push_back(std::move(entry));
  }
  const nlohmann::ordered_json json = {{"holds", !report.failed()},
                                       {"receipt", receipt.id},
                                       {"response", receipt.response_id},
                                       {"digest", report.digest},
                                       {"origin", receipt.origin},
                                       {"issued_at", receipt.issued_at},
                                       {"model", receipt.model_digest},
                                       {"numeric_profile", receipt.numeric_profile},
                                       {"anchors", receipt.anchor.digests},
                                       {"insecure", receipt.anchor.insecure != 0},
                                       {"override", receipt.override_digest},
                                       {"trusted", trust.source},
                                       {"checks", std::move(checks)}};
  fmt::print("{}\n", json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace

Result<int> cmd_verify(const CommandInput& input) {
  const Settings& settings = input.settings;
  if (input.positionals.empty())
    return fail(ErrorKind::kInvalid, "missing_argument",
                "'verify' needs the receipt's file, or - for standard input");
  FP_ASSIGN(const std::string file, read_input(input.positionals[0], kReceiptMaxFileBytes));
  FP_ASSIGN(const Trust trust, choose_trust(settings));
  FP_ASSIGN(const ReceiptEvidence evidence, read_evidence(settings));
  FP_ASSIGN(ReceiptReport report, verify_receipt(file, trust.policy, evidence));
  report.add(check_promotion(settings, report.receipt, trust.is_folder));
  report.add(check_receipt_chains(report.receipt, report.chains));
  FP_TRY(add_reexecution(settings, evidence, report));
  if (settings.flag("json")) {
    print_json(report, trust);
  } else {
    print_table(report, trust);
  }
  return report.failed() ? kFailed : 0;
}

}  // namespace fieldprint::app
