// Native forms of the responses, and their printers: one line of JSON each.
//
// Bytes that are not UTF-8 print as U+FFFD; everything else prints exactly.
// Thread rule: free functions are pure; a ResponsePrinter belongs to one response.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "api/request.h"
#include "core/error.h"
#include "engine/engine.h"
#include "engine/request.h"

namespace fieldprint {

// The anchor in front of every request, as it is shown to clients.
struct AnchorInfo {
  std::string digest;  // "sha256:<hex>" of anchor.json
  std::string name;
  std::string mode;         // "joint", "gated", "floored"
  std::string wrap;         // AnchorRecipe::wrap
  std::int32_t tokens = 0;  // logical length T
};

struct ResponseHead {
  std::string id;
  std::int64_t created = 0;  // Unix seconds
  std::string model;         // the name the client asked for
  std::string system_fingerprint;
};

// What the `fieldprint` block of a response says beside OpenAI's fields.
struct Evidence {
  std::optional<AnchorInfo> anchor;
  UsageReport usage;
  std::string profile;               // numeric profile
  std::vector<std::uint64_t> seeds;  // one per choice
  std::vector<std::string> ignored_fields;
  std::size_t ignored_count = 0;
};

struct ChoiceResult {
  std::string text;
  std::vector<TokenLogprob> logprobs;
  FinishReason reason = FinishReason::kStop;
};

// Prints one response, whole or as stream chunks (JSON only, without "data: ").
class ResponsePrinter {
 public:
  virtual ~ResponsePrinter() = default;
  virtual std::string whole(std::span<const ChoiceResult> choices, const Evidence& evidence) = 0;
  // First chunk of a choice; nullopt where the format has none.
  virtual std::optional<std::string> opening(std::int32_t choice) = 0;
  virtual std::string delta(const DeltaEvent& event) = 0;
  // evidence: given on the last choice to finish, else null.
  virtual std::string finish(const ChoiceDoneEvent& event, const Evidence* evidence) = 0;
  virtual std::string usage(const UsageReport& usage) = 0;
};
std::unique_ptr<ResponsePrinter> make_chat_printer(ResponseHead head, const RequestBase& base);
std::unique_ptr<ResponsePrinter> make_completion_printer(ResponseHead head,
                                                         const RequestBase& base);

// {"error":{message,type,param,code}}. percent: added while a model loads.
std::string print_error(const Error& error, std::optional<int> percent = std::nullopt);

struct ModelCard {
  std::string id;    // this name
  std::string root;  // the model's own name, when id is an alias of it
  std::int64_t created = 0;
  std::string digest;
  std::int32_t max_model_len = 0;
  std::optional<AnchorInfo> anchor;
  ModelConfig config;
};
std::string print_model(const ModelCard& card);
std::string print_model_list(std::span<const ModelCard> cards);

struct TokenizeResponse {
  std::vector<TokenId> tokens;
  std::optional<std::vector<std::string>> token_strs;  // bytes of each token
  std::int32_t max_model_len = 0;
};
std::string print_tokenize(const TokenizeResponse& response);
std::string print_detokenize(const std::string& text);

// {"status":"ok"} and the like.
std::string print_status(const std::string& status);
std::string print_version(const std::string& build_version);

}  // namespace fieldprint
