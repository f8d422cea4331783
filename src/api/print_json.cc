#include "api/print_json.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace fieldprint {
namespace {

// The largest integer a JavaScript client reads exactly.
constexpr std::uint64_t kMaxExactInteger = (1ULL << 53) - 1;

OrderedJson session_json(const SessionInfo& session) {
  return {{"id", session.id}, {"turn", session.turn}, {"token", session.token}};
}

OrderedJson receipt_json(const ReceiptInfo& receipt) {
  OrderedJson out = {{"id", receipt.id}, {"state", receipt.state}};
  if (!receipt.code.empty()) out["code"] = receipt.code;
  return out;
}

}  // namespace

// Or half the clients would read another seed.
OrderedJson seed_json(std::uint64_t seed) {
  return seed <= kMaxExactInteger ? OrderedJson(seed) : OrderedJson(std::to_string(seed));
}

OrderedJson text_or_null(const std::string& text) {
  return text.empty() ? OrderedJson(nullptr) : OrderedJson(text);
}

double rounded(double value, double units) { return std::round(value * units) / units; }

OrderedJson mass_json(std::span<const float, kKvClasses> mass) {
  OrderedJson out = OrderedJson::object();
  for (std::size_t i = 0; i < mass.size(); ++i) {
    const auto cls = static_cast<KvClass>(i);
    if (cls == KvClass::kReserved) continue;
    const double value = mass[i];
    out[kv_class_name(cls)] = std::isfinite(value) ? OrderedJson(rounded(value, 1e6)) : nullptr;
  }
  return out;
}

const char* anchor_trust_name(AnchorTrust trust) {
  switch (trust) {
    case AnchorTrust::kInsecure:
      return "insecure";
    case AnchorTrust::kPromoted:
      return "promoted";
  }
  FP_UNREACHABLE();
}

std::string dump_json(const OrderedJson& value) {
  return value.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

OrderedJson usage_json(const UsageReport& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
}

OrderedJson anchor_json(const AnchorInfo& anchor) {
  return {{"digest", anchor.digest},
          {"name", anchor.name},
          {"mode", anchor.mode},
          {"tokens", anchor.tokens},
          {"trust", anchor_trust_name(anchor.trust)},
          {"promotion",
           anchor.promotion.empty() ? OrderedJson(nullptr) : OrderedJson(anchor.promotion)}};
}

OrderedJson evidence_json(const Evidence& evidence) {
  OrderedJson seeds = OrderedJson::array();
  for (const std::uint64_t seed : evidence.seeds) seeds.push_back(seed_json(seed));
  OrderedJson block = {
      {"anchor", evidence.anchor ? anchor_json(*evidence.anchor) : OrderedJson(nullptr)},
      {"attention_mass", mass_json(evidence.usage.mass)},
      {"cached_tokens", evidence.usage.cached_tokens},
      {"profile", evidence.profile},
      {"seeds", std::move(seeds)},
      {"ignored_fields", evidence.ignored_fields}};
  if (evidence.ignored_count > evidence.ignored_fields.size()) {
    block["ignored_fields_total"] = evidence.ignored_count;
  }
  if (evidence.usage.anchors.size() > 1) {  // one was revoked while this was written
    OrderedJson anchors = OrderedJson::array();
    for (const std::string& digest : evidence.usage.anchors) {
      anchors.push_back(digest.empty() ? OrderedJson(nullptr) : OrderedJson(digest));
    }
    block["anchors"] = std::move(anchors);
  }
  block["override"] = text_or_null(evidence.override_digest);
  block["session"] = evidence.session ? session_json(*evidence.session) : OrderedJson(nullptr);
  block["supervision"] = supervision_json(evidence);
  block["receipt"] = evidence.receipt ? receipt_json(*evidence.receipt) : OrderedJson(nullptr);
  block["prefill_seconds"] = rounded(evidence.usage.prefill_seconds, 1e6);
  block["decode_seconds"] = rounded(evidence.usage.decode_seconds, 1e6);
  return block;
}

const char* finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kContentFilter:
      return "content_filter";
    case FinishReason::kLength:
      return "length";
  }
  FP_UNREACHABLE();
}

double print_logprob(float logprob) {
  // JSON has no -Infinity; OpenAI's value for "impossible" is -9999.
  constexpr double kLowest = -9999.0;
  if (std::isnan(logprob)) return kLowest;
  return rounded(std::clamp(static_cast<double>(logprob), kLowest, 0.0), 1e7);
}

}  // namespace fieldprint
