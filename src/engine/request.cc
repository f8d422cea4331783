#include "engine/request.h"

#include <cmath>
#include <string>
#include <unordered_set>

#include "codec/utf8.h"

namespace fieldprint {
namespace {

constexpr float kMaxPenalty = 2.0F;
constexpr float kMinRepetition = 0.01F;
constexpr float kMaxRepetition = 100.0F;
constexpr float kMaxBias = 100.0F;
constexpr std::int32_t kMaxLogprobs = 20;
constexpr std::int32_t kMaxChoices = 16;
constexpr std::size_t kMaxStops = 16;
constexpr std::size_t kMaxStopBytes = 1024;

// NaN fails every comparison, so it fails this one too.
bool within(float value, float low, float high) { return value >= low && value <= high; }

tl::unexpected<Error> invalid(const std::string& param, const std::string& rule) {
  return fail(ErrorKind::kInvalid, "invalid_" + param, param + " " + rule, param);
}

Status validate_bias(const SamplingParams& params, std::int32_t vocab_size) {
  std::unordered_set<TokenId> seen;
  for (const auto& [token, bias] : params.logit_bias) {
    const std::string name = "of token " + std::to_string(token) + " ";
    if (token < 0 || token >= vocab_size) {
      return invalid("logit_bias",
                     name + "is outside the vocabulary of " + std::to_string(vocab_size));
    }
    if (!within(bias, -kMaxBias, kMaxBias))
      return invalid("logit_bias", name + "must be -100..100");
    if (!seen.insert(token).second) return invalid("logit_bias", name + "is given twice");
  }
  return {};
}

Status validate_stop(const std::vector<std::string>& stops) {
  if (stops.size() > kMaxStops) return invalid("stop", "takes at most 16 strings");
  for (const std::string& stop : stops) {
    if (stop.empty()) return invalid("stop", "must not hold an empty string");
    if (stop.size() > kMaxStopBytes) return invalid("stop", "strings are at most 1024 bytes");
    if (!utf8_valid(stop)) return invalid("stop", "must be valid UTF-8");
  }
  return {};
}

Status validate_prompt(const std::vector<TokenSpan>& prompt, std::int32_t vocab_size) {
  bool empty = true;
  for (const TokenSpan& span : prompt) {
    switch (span.cls) {
      case KvClass::kSystem:
      case KvClass::kUser:
      case KvClass::kTool:
      case KvClass::kMemory:
      case KvClass::kOutput:
        break;
      case KvClass::kSink:
      case KvClass::kAnchor:
      case KvClass::kReserved:
        return invalid("prompt", std::string("must not claim the class ") +
                                     std::to_string(static_cast<int>(span.cls)) +
                                     ", which only the engine gives");
    }
    for (const TokenId token : span.tokens) {
      if (token < 0 || token >= vocab_size) {
        return invalid("prompt", "holds token " + std::to_string(token) +
                                     ", outside the vocabulary of " + std::to_string(vocab_size));
      }
    }
    empty = empty && span.tokens.empty();
  }
  if (empty) return invalid("prompt", "must hold at least one token");
  return {};
}

}  // namespace

Status validate(const SamplingParams& params, std::int32_t vocab_size) {
  if (!within(params.temperature, 0.0F, 2.0F)) return invalid("temperature", "must be 0..2");
  if (params.top_k < 0) return invalid("top_k", "must be 0 (off) or positive");
  if (!(params.top_p > 0.0F && params.top_p <= 1.0F)) {
    return invalid("top_p", "must be above 0 and at most 1");
  }
  if (!within(params.min_p, 0.0F, 1.0F)) return invalid("min_p", "must be 0..1");
  if (!within(params.repetition_penalty, kMinRepetition, kMaxRepetition)) {
    return invalid("repetition_penalty", "must be 0.01..100");
  }
  if (!within(params.presence_penalty, -kMaxPenalty, kMaxPenalty)) {
    return invalid("presence_penalty", "must be -2..2");
  }
  if (!within(params.frequency_penalty, -kMaxPenalty, kMaxPenalty)) {
    return invalid("frequency_penalty", "must be -2..2");
  }
  if (params.logprobs < -1 || params.logprobs > kMaxLogprobs) {
    return invalid("logprobs", "must be -1 (none) or 0..20");
  }
  return validate_bias(params, vocab_size);
}

Status validate(const GenerationRequest& request, std::int32_t vocab_size) {
  FP_TRY(validate(request.sampling, vocab_size));
  FP_TRY(validate_stop(request.stop));
  if (request.max_tokens != -1 && request.max_tokens < 1) {
    return invalid("max_tokens", "must be -1 (up to the context's end) or at least 1");
  }
  if (request.choices < 1 || request.choices > kMaxChoices) {
    return invalid("choices", "must be 1..16");
  }
  if (request.override_grant && request.override_grant->id.empty()) {
    return invalid("override", "must name its statement");
  }
  return validate_prompt(request.prompt, vocab_size);
}

}  // namespace fieldprint
