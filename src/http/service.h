// What a running server serves: one model, its engine and its identity.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/response.h"
#include "engine/engine.h"
#include "http/text_service.h"

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
  std::optional<AnchorInfo> anchor;  // absent: served without one
};

}  // namespace fieldprint
