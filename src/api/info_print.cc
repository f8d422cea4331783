#include <utility>

#include "api/print_json.h"
#include "api/response.h"
#include "core/check.h"

namespace fieldprint {
namespace {

// OpenAI's `type` says who has to act; `code` says what happened.
const char* error_type(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalid:
    case ErrorKind::kNotFound:
    case ErrorKind::kTooLarge:
    case ErrorKind::kUnsupported:
      return "invalid_request_error";
    case ErrorKind::kUnauthorized:
      return "authentication_error";
    case ErrorKind::kForbidden:
      return "permission_error";
    case ErrorKind::kUnavailable:
    case ErrorKind::kExhausted:
      return "unavailable_error";
    case ErrorKind::kCancelled:
      return "timeout_error";
    case ErrorKind::kCorrupt:
    case ErrorKind::kIo:
    case ErrorKind::kInternal:
      return "server_error";
  }
  FP_UNREACHABLE();
}

OrderedJson model_json(const ModelCard& card) {
  const ModelConfig& config = card.config;
  return {{"id", card.id},
          {"object", "model"},
          {"created", card.created},
          {"owned_by", "fieldprint"},
          {"root", card.root},
          {"max_model_len", card.max_model_len},
          {"meta",
           {{"architecture", config.architecture},
            {"name", config.name},
            {"digest", card.digest},
            {"n_vocab", config.vocab},
            {"n_ctx_train", config.context_train},
            {"n_embd", config.hidden},
            {"n_layer", config.layers},
            {"n_head", config.heads},
            {"n_head_kv", config.kv_heads},
            {"anchor", card.anchor ? anchor_json(*card.anchor) : OrderedJson(nullptr)}}}};
}

}  // namespace

std::string print_error(const Error& error, std::optional<int> percent) {
  OrderedJson body = {
      {"message", error.message},
      {"type", error_type(error.kind)},
      {"param", error.param.empty() ? OrderedJson(nullptr) : OrderedJson(error.param)},
      {"code", error.code}};
  if (percent) body["percent"] = *percent;
  return dump_json({{"error", std::move(body)}});
}

std::string print_model(const ModelCard& card) { return dump_json(model_json(card)); }

std::string print_model_list(std::span<const ModelCard> cards) {
  OrderedJson data = OrderedJson::array();
  for (const ModelCard& card : cards) data.push_back(model_json(card));
  return dump_json({{"object", "list"}, {"data", std::move(data)}});
}

std::string print_tokenize(const TokenizeResponse& response) {
  OrderedJson body = {{"count", response.tokens.size()},
                      {"max_model_len", response.max_model_len},
                      {"tokens", response.tokens}};
  if (response.token_strs) body["token_strs"] = *response.token_strs;
  return dump_json(body);
}

std::string print_detokenize(const std::string& text) {
  // vLLM's name and llama.cpp's.
  return dump_json({{"prompt", text}, {"content", text}});
}

std::string print_status(const std::string& status) { return dump_json({{"status", status}}); }

std::string print_version(const std::string& build_version) {
  return dump_json({{"version", build_version}});
}

}  // namespace fieldprint
