// What a server offers beside answers once it has a trust folder: receipts, overrides,
// revocations. Each is absent where the folder does not allow it, and says why.
#pragma once

#include <memory>
#include <string>

#include "app/config/settings.h"
#include "app/support/model_stack.h"
#include "engine/anchor_service.h"
#include "engine/override_gate.h"
#include "ledger/receipt_book.h"

namespace fieldprint::app {

// Destroyed before the EngineStack it was made from.
struct TrustServices {
  std::unique_ptr<RegistryJudge> judge;
  std::unique_ptr<LedgerOverrideLog> override_log;
  std::unique_ptr<OverrideGate> overrides;  // null: no trust folder, or no log keys in it
  std::unique_ptr<ReceiptBook> receipts;    // null: off
  std::unique_ptr<AnchorService> anchors;   // null: no trust folder
  std::string receipts_line;                // for the banner: on or off, and why
  std::string revocation_line;              // what a revocation will do; empty: nothing watches
};

// Errors: receipts_unavailable (--receipts on without a ledger that may be written),
// option_conflict (--fallback-anchor with the policy end), those of find_anchor and
// ReceiptBook::open.
Result<TrustServices> start_trust_services(const Settings& settings, EngineStack& stack);

// "sha256:<hex>" that receipts name the chat template by: of its source, or of its name where
// it is one of the library's own. Empty without a template.
std::string template_digest(const ModelStack& model);

}  // namespace fieldprint::app
