#include "app/support/trust_services.h"

#include <fmt/format.h>

#include "crypto/sha256.h"

namespace fieldprint::app {
namespace {

// How long a request with an override waits for the disk.
constexpr std::chrono::milliseconds kOverridePatience{10'000};

Status open_receipts(const Settings& settings, EngineStack& stack, TrustServices& services) {
  const std::string& wanted = settings.text("receipts");
  if (wanted == "off") {
    services.receipts_line = "off (--receipts off)";
    return {};
  }
  const char* missing = nullptr;
  if (!stack.trust) {
    missing = "no trust folder; 'fieldprint anchor init' makes one";
  } else if (!stack.trust->ledger) {
    missing = "the trust folder holds no log keys, so nothing can be signed here";
  }
  if (missing != nullptr) {
    if (wanted == "on")
      return fail(ErrorKind::kInvalid, "receipts_unavailable",
                  fmt::format("--receipts on, but there is {}", missing), "receipts");
    services.receipts_line = fmt::format("off ({})", missing);
    return {};
  }
  FP_ASSIGN(SignerKey key, SignerKey::load(stack.trust->folder.keys_dir() + kLogKeyFile));
  FP_ASSIGN(services.receipts, ReceiptBook::open(Env::real(), stack.trust->folder.dir + "/receipts",
                                                 *stack.trust->ledger, std::move(key)));
  services.receipts_line = fmt::format("on, in the log '{}'", services.receipts->origin());
  return {};
}

Result<AnchorServiceOptions> anchor_options(const Settings& settings, const EngineStack& stack) {
  AnchorServiceOptions options;
  const std::string& fallback = settings.text("fallback-anchor");
  if (settings.text("revocation-policy") == "reanchor") {
    options.policy = RevocationPolicy::kReanchor;
  } else if (!fallback.empty()) {
    return fail(ErrorKind::kInvalid, "option_conflict",
                "--fallback-anchor needs --revocation-policy reanchor", "fallback-anchor");
  }
  if (!fallback.empty()) {
    FP_ASSIGN(options.fallback_folder, find_anchor(stack.trust->folder, fallback));
  }
  return options;
}

}  // namespace

Result<TrustServices> start_trust_services(const Settings& settings, EngineStack& stack) {
  TrustServices services;
  FP_TRY(open_receipts(settings, stack, services));
  if (!stack.trust) return services;
  TrustStack& trust = *stack.trust;
  if (trust.ledger) {
    services.judge = std::make_unique<RegistryJudge>(*trust.registry);
    services.override_log = std::make_unique<LedgerOverrideLog>(*trust.ledger, kOverridePatience);
    services.overrides = std::make_unique<OverrideGate>(*services.judge, *services.override_log);
  }
  FP_ASSIGN(const AnchorServiceOptions options, anchor_options(settings, stack));
  services.revocation_line =
      options.policy == RevocationPolicy::kEnd ? "conversations end with their anchor"
      : options.fallback_folder.empty()
          ? "conversations go on behind no anchor, new ones are refused"
          : fmt::format("conversations go on behind {}", options.fallback_folder);
  PromotedAnchor front;
  if (stack.promoted) front = *stack.promoted;
  front.place = {settings.text("tenant"), stack.model.digest};
  services.anchors = make_anchor_service(*stack.engine, *trust.registry, trust.ledger.get(),
                                         std::move(front), stack.anchor, options);
  return services;
}

std::string template_digest(const ModelStack& model) {
  if (!model.chat) return {};
  const std::string& name = model.chat->name();
  return name.starts_with("sha256:") ? name : digest_string(sha256(name));
}

}  // namespace fieldprint::app
