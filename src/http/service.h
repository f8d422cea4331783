// What a running server serves: one model, its engine and its identity.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/response.h"
#include "engine/anchor_service.h"
#include "engine/engine.h"
#include "engine/override_gate.h"
#include "http/text_service.h"
#include "ledger/ledger_reader.h"
#include "ledger/receipt_book.h"

namespace fieldprint {

// Handed to Server::set_ready(). The engine is owned by the caller and must
// outlive the server. All strings are shown to clients as they are.
struct ServiceContext {
  Engine* engine = nullptr;
  std::shared_ptr<const TextService> text;
  std::string model_id;              // what "model" in a request must say
  std::vector<std::string> aliases;  // further accepted names
  std::string model_digest;          // "sha256:<hex>" of the model file
  std::int64_t created = 0;          // Unix seconds, for /v1/models
  std::optional<AnchorInfo> anchor;  // at the start; absent: served without one

  // The trust side. Owned by the caller like the engine; null: this server has none of it.
  AnchorBinding front;                // what the engine was created with
  AnchorService* anchors = nullptr;   // null: no trust folder
  ReceiptBook* receipts = nullptr;    // null: no receipts
  LedgerReader* log = nullptr;        // null: no ledger to serve
  OverrideGate* overrides = nullptr;  // null: overrides are refused
  std::string tenant = "default";     // the place that statements are judged for
  std::string template_digest;        // "sha256:<hex>" of the chat template's source
};

}  // namespace fieldprint
