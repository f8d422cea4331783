#include <nlohmann/json.hpp>
#include <utility>

#include "api/common_fields.h"
#include "api/json_body.h"
#include "api/request.h"
#include "api/unsupported.h"

namespace fieldprint {
namespace {

using nlohmann::json;

// max_completion_tokens is the newer name of max_tokens.
Status read_max_tokens(BodyReader& fields, const ApiLimits& limits, RequestBase& base) {
  FP_ASSIGN(const auto older, fields.integer("max_tokens", {1, limits.max_tokens}));
  FP_ASSIGN(const auto newer, fields.integer("max_completion_tokens", {1, limits.max_tokens}));
  if (older && newer && *older != *newer) {
    return field_wrong_value("max_completion_tokens", "contradicts 'max_tokens'; send one of them");
  }
  if (older) base.max_tokens = static_cast<std::int32_t>(*older);
  if (newer) base.max_tokens = static_cast<std::int32_t>(*newer);
  return {};
}

Status read_logprobs(BodyReader& fields, const ApiLimits& limits, RequestBase& base) {
  FP_ASSIGN(const auto wanted, fields.boolean("logprobs"));
  FP_ASSIGN(const auto top, fields.integer("top_logprobs", {0, limits.top_logprobs}));
  if (wanted.value_or(false)) {
    base.sampling.logprobs = static_cast<std::int32_t>(top.value_or(0));
  } else if (top.value_or(0) > 0) {
    return field_wrong_value("top_logprobs", "needs 'logprobs' to be true");
  }
  return {};
}

}  // namespace

Result<ChatRequest> parse_chat_request(std::string_view body, const ApiLimits& limits) {
  FP_ASSIGN(const json object, parse_json_body(body, limits));
  BodyReader fields(object, "");
  ChatRequest request;
  std::set<std::string> nested;
  FP_TRY(refuse_unsupported(fields, Endpoint::kChat));
  FP_TRY(read_common_fields(fields, limits, request.base));
  FP_TRY(read_max_tokens(fields, limits, request.base));
  FP_TRY(read_logprobs(fields, limits, request.base));
  const json* messages = fields.find("messages");
  // A session's open answer can go on without any.
  const bool optional = !request.base.session.empty();
  if (messages == nullptr && !optional) return field_missing("messages");
  const bool none = messages == nullptr || *messages == json::array();
  if (!(none && optional)) {
    FP_ASSIGN(request.messages, read_messages(*messages, limits, nested));
  }
  list_ignored(fields, nested, limits, request.base);
  return request;
}

}  // namespace fieldprint
