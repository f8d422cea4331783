#include <nlohmann/json.hpp>
#include <utility>

#include "api/common_fields.h"
#include "api/json_body.h"
#include "api/request.h"

namespace fieldprint {
namespace {

using nlohmann::json;

Status take_bool(BodyReader& fields, const char* name, bool& target) {
  FP_ASSIGN(const auto value, fields.boolean(name));
  if (value) target = *value;
  return {};
}

// These endpoints have no place to list ignored fields, so they take none.
Status refuse_unknown(const BodyReader& fields, const std::set<std::string>& nested) {
  auto unknown = fields.unknown();
  unknown.insert(unknown.end(), nested.begin(), nested.end());
  if (unknown.empty()) return {};
  const std::string name = unknown.front().substr(0, 128);
  return fail(ErrorKind::kInvalid, "unknown_field",
              "'" + name + "' is not a field of this endpoint", name);
}

}  // namespace

Result<TokenizeRequest> parse_tokenize_request(std::string_view body, const ApiLimits& limits) {
  FP_ASSIGN(const json object, parse_json_body(body, limits));
  BodyReader fields(object, "");
  TokenizeRequest request;
  FP_ASSIGN(auto model, fields.text("model", limits.label_bytes));
  request.model = std::move(model).value_or("");
  FP_ASSIGN(auto prompt, fields.text("prompt", limits.body_bytes));
  FP_ASSIGN(auto content, fields.text("content", limits.body_bytes));  // llama.cpp's name
  const json* messages = fields.find("messages");
  if (int{prompt.has_value()} + int{content.has_value()} + int{messages != nullptr} != 1) {
    return fail(ErrorKind::kInvalid, "missing_field",
                "send exactly one of 'prompt', 'content' and 'messages'", "prompt");
  }
  request.text = prompt ? std::move(prompt) : std::move(content);
  std::set<std::string> nested;
  if (messages != nullptr) {
    FP_ASSIGN(request.messages, read_messages(*messages, limits, nested));
  }
  FP_TRY(take_bool(fields, "add_special_tokens", request.add_special_tokens));
  FP_TRY(take_bool(fields, "add_generation_prompt", request.add_generation_prompt));
  FP_TRY(take_bool(fields, "parse_special", request.parse_special));
  FP_TRY(take_bool(fields, "return_token_strs", request.return_token_strs));
  FP_TRY(refuse_unknown(fields, nested));
  return request;
}

Result<DetokenizeRequest> parse_detokenize_request(std::string_view body, const ApiLimits& limits) {
  FP_ASSIGN(const json object, parse_json_body(body, limits));
  BodyReader fields(object, "");
  DetokenizeRequest request;
  FP_ASSIGN(auto model, fields.text("model", limits.label_bytes));
  request.model = std::move(model).value_or("");
  const json* tokens = fields.find("tokens");
  if (tokens == nullptr) {
    return field_missing("tokens");
  }
  FP_ASSIGN(request.tokens, read_tokens(*tokens, "tokens"));
  FP_TRY(refuse_unknown(fields, {}));
  return request;
}

}  // namespace fieldprint
