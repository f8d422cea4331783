#include <nlohmann/json.hpp>
#include <utility>

#include "api/common_fields.h"
#include "api/json_body.h"
#include "api/request.h"
#include "api/unsupported.h"

namespace fieldprint {
namespace {

using nlohmann::json;

// OpenAI's default for this endpoint.
constexpr std::int32_t kDefaultMaxTokens = 16;

using Prompt = std::variant<std::string, std::vector<TokenId>>;

// A string, a token array, or an array that holds exactly one of these.
Result<Prompt> read_prompt(const json& prompt) {
  if (prompt.is_string()) return Prompt(prompt.get<std::string>());
  if (!prompt.is_array()) {
    return field_wrong_type("prompt", "a string or an array of token ids", prompt);
  }
  if (prompt.empty()) return field_wrong_value("prompt", "must not be an empty array");
  if (prompt[0].is_string() || prompt[0].is_array()) {
    if (prompt.size() > 1) {
      return field_unsupported("prompt", "holds several prompts; send one request for each");
    }
    if (prompt[0].is_string()) return Prompt(prompt[0].get<std::string>());
    FP_ASSIGN(auto inner, read_tokens(prompt[0], "prompt[0]"));
    if (inner.empty()) return field_wrong_value("prompt[0]", "must not be an empty array");
    return Prompt(std::move(inner));
  }
  FP_ASSIGN(auto tokens, read_tokens(prompt, "prompt"));
  return Prompt(std::move(tokens));
}

}  // namespace

Result<CompletionRequest> parse_completion_request(std::string_view body, const ApiLimits& limits) {
  FP_ASSIGN(const json object, parse_json_body(body, limits));
  BodyReader fields(object, "");
  CompletionRequest request;
  RequestBase& base = request.base;
  FP_TRY(refuse_unsupported(fields, Endpoint::kCompletion));
  FP_TRY(read_common_fields(fields, limits, base));
  FP_ASSIGN(const auto max_tokens, fields.integer("max_tokens", {1, limits.max_tokens}));
  base.max_tokens = static_cast<std::int32_t>(max_tokens.value_or(kDefaultMaxTokens));
  FP_ASSIGN(const auto logprobs, fields.integer("logprobs", {0, limits.top_logprobs}));
  base.sampling.logprobs = static_cast<std::int32_t>(logprobs.value_or(-1));
  FP_ASSIGN(const auto best_of, fields.integer("best_of", {1, limits.choices}));
  if (best_of && *best_of != base.choices) {
    return field_unsupported("best_of", "may only equal 'n': choices are not ranked");
  }
  const json* prompt = fields.find("prompt");
  if (prompt == nullptr) {
    return field_missing("prompt");
  }
  FP_ASSIGN(request.prompt, read_prompt(*prompt));
  list_ignored(fields, {}, limits, base);
  return request;
}

}  // namespace fieldprint
