#include "api/common_fields.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

namespace fieldprint {
namespace {

using nlohmann::json;

// Stores a real field of the body into a float of the native request.
Status take_real(BodyReader& fields, const char* name, const RealRange& range, float& target) {
  FP_ASSIGN(const auto value, fields.real(name, range));
  if (value) target = static_cast<float>(*value);
  return {};
}

Status read_sampling(BodyReader& fields, SamplingParams& sampling) {
  FP_TRY(take_real(fields, "temperature", {0, 2, "0 to 2"}, sampling.temperature));
  FP_TRY(take_real(fields, "top_p", {0, 1, "above 0 and at most 1", true}, sampling.top_p));
  FP_TRY(take_real(fields, "min_p", {0, 1, "0 to 1"}, sampling.min_p));
  FP_TRY(take_real(fields, "repetition_penalty", {0.01, 100, "0.01 to 100"},
                   sampling.repetition_penalty));
  FP_TRY(take_real(fields, "presence_penalty", {-2, 2, "-2 to 2"}, sampling.presence_penalty));
  FP_TRY(take_real(fields, "frequency_penalty", {-2, 2, "-2 to 2"}, sampling.frequency_penalty));
  // A positive double may round to 0 as a float, which would mean something else.
  if (!(sampling.top_p > 0)) return field_wrong_value(fields.param("top_p"), "is too small");
  constexpr std::int64_t kMaxInt = std::numeric_limits<std::int32_t>::max();
  FP_ASSIGN(const auto top_k, fields.integer("top_k", {-1, kMaxInt}));  // -1: off, as elsewhere
  if (top_k) sampling.top_k = static_cast<std::int32_t>(*top_k < 0 ? 0 : *top_k);
  return {};
}

Status read_seed(BodyReader& fields, SamplingParams& sampling) {
  const json* seed = fields.find("seed");
  if (seed == nullptr) return {};
  if (!seed->is_number_integer())
    return field_wrong_type(fields.param("seed"), "an integer", *seed);
  if (!seed->is_number_unsigned() && seed->get<std::int64_t>() < 0) {
    return field_wrong_value(fields.param("seed"), "must not be negative");
  }
  sampling.seed = seed->get<std::uint64_t>();
  return {};
}

Status read_stop(BodyReader& fields, const ApiLimits& limits, std::vector<std::string>& stop) {
  const json* value = fields.find("stop");
  if (value == nullptr) return {};
  const json list = value->is_string() ? json::array({*value}) : *value;
  if (!list.is_array()) return field_wrong_type("stop", "a string or an array of strings", list);
  if (list.size() > limits.stop_strings) {
    return field_wrong_value("stop",
                             "holds more than " + std::to_string(limits.stop_strings) + " strings");
  }
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string param = value->is_string() ? "stop" : "stop[" + std::to_string(i) + "]";
    if (!list[i].is_string()) return field_wrong_type(param, "a string", list[i]);
    const auto& text = list[i].get_ref<const std::string&>();
    if (text.empty()) return field_wrong_value(param, "must not be empty");
    if (text.size() > limits.stop_bytes) {
      return field_wrong_value(param,
                               "is longer than " + std::to_string(limits.stop_bytes) + " bytes");
    }
    stop.push_back(text);
  }
  return {};
}

// Token id of a logit_bias key: decimal digits only, no sign, no leading zero.
std::optional<TokenId> parse_token_key(const std::string& key) {
  if (key.empty() || key.size() > 9 || (key.size() > 1 && key[0] == '0')) return std::nullopt;
  TokenId token = 0;
  for (const char c : key) {
    if (c < '0' || c > '9') return std::nullopt;
    token = token * 10 + (c - '0');
  }
  return token;
}

Status read_logit_bias(BodyReader& fields, const ApiLimits& limits, SamplingParams& sampling) {
  const json* map = fields.find("logit_bias");
  if (map == nullptr) return {};
  if (!map->is_object()) return field_wrong_type("logit_bias", "an object", *map);
  if (map->size() > limits.logit_bias) {
    return field_wrong_value("logit_bias",
                             "holds more than " + std::to_string(limits.logit_bias) + " entries");
  }
  for (const auto& [key, value] : map->items()) {
    const auto token = parse_token_key(key);
    if (!token) return field_wrong_value("logit_bias", "has a key that is not a token id");
    const std::string param = "logit_bias." + key;
    if (!value.is_number()) return field_wrong_type(param, "a number", value);
    const double bias = value.get<double>();
    if (!(std::fabs(bias) <= 100)) return field_wrong_value(param, "must be -100 to 100");
    sampling.logit_bias.emplace_back(*token, static_cast<float>(bias));
  }
  return {};
}

Status read_streaming(BodyReader& fields, RequestBase& base) {
  FP_ASSIGN(const auto stream, fields.boolean("stream"));
  base.streaming = stream.value_or(false) ? Streaming::kOn : Streaming::kOff;
  const json* options = fields.find("stream_options");
  if (options == nullptr) return {};
  if (!options->is_object()) return field_wrong_type("stream_options", "an object", *options);
  if (base.streaming == Streaming::kOff) {
    return field_wrong_value("stream_options", "is only allowed when 'stream' is true");
  }
  BodyReader inner(*options, "stream_options.");
  FP_ASSIGN(const auto usage, inner.boolean("include_usage"));
  base.stream_usage = usage.value_or(false) ? StreamUsage::kOn : StreamUsage::kOff;
  return {};
}

// Accepted because they change nothing in the answer; checked all the same.
Status read_labels(BodyReader& fields, const ApiLimits& limits, RequestBase& base) {
  FP_ASSIGN(auto user, fields.text("user", limits.label_bytes));
  base.user = std::move(user).value_or("");
  const json* metadata = fields.find("metadata");
  if (metadata == nullptr) return {};
  if (!metadata->is_object()) return field_wrong_type("metadata", "an object", *metadata);
  if (metadata->size() > limits.metadata) {
    return field_wrong_value("metadata",
                             "holds more than " + std::to_string(limits.metadata) + " entries");
  }
  for (const auto& [key, value] : metadata->items()) {
    if (!value.is_string())
      return field_wrong_type("metadata." + key.substr(0, 64), "a string", value);
  }
  return {};
}

}  // namespace

Status read_common_fields(BodyReader& fields, const ApiLimits& limits, RequestBase& base) {
  FP_ASSIGN(auto model, fields.text("model", limits.label_bytes));
  base.model = std::move(model).value_or("");
  FP_TRY(read_sampling(fields, base.sampling));
  FP_TRY(read_seed(fields, base.sampling));
  FP_TRY(read_stop(fields, limits, base.stop));
  FP_TRY(read_logit_bias(fields, limits, base.sampling));
  FP_TRY(read_streaming(fields, base));
  FP_TRY(read_labels(fields, limits, base));
  FP_ASSIGN(const auto choices, fields.integer("n", {1, limits.choices}));
  base.choices = static_cast<std::int32_t>(choices.value_or(1));
  FP_ASSIGN(const auto ignore_eos, fields.boolean("ignore_eos"));
  base.ignore_eos = ignore_eos.value_or(false);
  FP_ASSIGN(auto salt, fields.text("cache_salt", limits.label_bytes));
  base.cache_salt = std::move(salt).value_or("");
  return read_fieldprint_field(fields, limits, base);
}

Result<std::vector<TokenId>> read_tokens(const json& tokens, const std::string& param) {
  if (!tokens.is_array()) return field_wrong_type(param, "an array of token ids", tokens);
  std::vector<TokenId> out;
  out.reserve(tokens.size());
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const std::string where = param + "[" + std::to_string(i) + "]";
    if (!tokens[i].is_number_integer()) return field_wrong_type(where, "a token id", tokens[i]);
    constexpr std::int64_t kMaxToken = std::numeric_limits<TokenId>::max();
    const bool fits = tokens[i].is_number_unsigned() &&
                      tokens[i].get<std::uint64_t>() <= static_cast<std::uint64_t>(kMaxToken);
    if (!fits) return field_wrong_value(where, "is not a token id");
    out.push_back(tokens[i].get<TokenId>());
  }
  return out;
}

void list_ignored(const BodyReader& fields, const std::set<std::string>& nested,
                  const ApiLimits& limits, RequestBase& base) {
  std::set<std::string> names(nested);
  for (std::string& name : fields.unknown()) names.insert(name.substr(0, 128));
  base.ignored_count = names.size();
  for (const std::string& name : names) {
    if (base.ignored_fields.size() == limits.ignored_listed) break;
    base.ignored_fields.push_back(name);
  }
}

}  // namespace fieldprint
