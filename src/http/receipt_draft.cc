#include "http/receipt_draft.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "api/print_json.h"
#include "core/check.h"
#include "core/log.h"
#include "supervisor/receipt_chain.h"

namespace fieldprint {
namespace {

std::string digest_or_none(const std::string& digest) {
  return digest.empty() ? std::string(kReceiptNone) : digest;
}

std::int64_t to_ppm(float share) {
  if (!std::isfinite(share) || share < 0) return 0;
  return std::llround(static_cast<double>(share) * 1e6);
}

ReceiptSampler sampler_of(const RequestBase& base) {
  const SamplingParams& sampling = base.sampling;
  ReceiptSampler out;
  out.temperature = receipt_number(sampling.temperature);
  out.top_p = receipt_number(sampling.top_p);
  out.min_p = receipt_number(sampling.min_p);
  out.repetition_penalty = receipt_number(sampling.repetition_penalty);
  out.presence_penalty = receipt_number(sampling.presence_penalty);
  out.frequency_penalty = receipt_number(sampling.frequency_penalty);
  out.top_k = sampling.top_k;
  out.logit_bias = static_cast<std::int64_t>(sampling.logit_bias.size());
  out.max_tokens = base.max_tokens;
  return out;
}

}  // namespace

std::optional<AnchorStanding> standing_of(const ServiceContext& service,
                                          const std::string& digest) {
  if (digest.empty()) return std::nullopt;
  if (service.anchors != nullptr) {
    if (auto standing = service.anchors->standing(digest)) return standing;
  }
  if (service.front.artifact && service.front.artifact->digest == digest) {
    return AnchorStanding{service.front, std::nullopt};
  }
  return std::nullopt;
}

ReceiptDraft::ReceiptDraft(const ServerState& state, const char* endpoint, std::string_view body) {
  FP_CHECK(state.service.receipts != nullptr);
  receipt_.id = ReceiptBook::draw_id();
  receipt_.origin = state.service.receipts->origin();
  receipt_.salt = ReceiptBook::draw_salt();
  receipt_.endpoint = endpoint;
  receipt_.request_digest = receipt_commitment(receipt_.salt, "request", body);
  receipt_.build = state.options.build_version;
  receipt_.model_digest = state.service.model_digest;
  receipt_.template_digest = digest_or_none(state.service.template_digest);
  receipt_.numeric_profile = state.service.engine->numeric_profile();
}

void ReceiptDraft::describe(const RequestBase& base, const std::string& response_id,
                            const std::string& override_digest) {
  receipt_.response_id = response_id;
  receipt_.override_digest = digest_or_none(override_digest);
  receipt_.sampler = sampler_of(base);
  receipt_.choices.resize(static_cast<std::size_t>(base.choices));
  texts_.resize(receipt_.choices.size());
}

void ReceiptDraft::note(const DeltaEvent& event) {
  texts_.at(static_cast<std::size_t>(event.choice)) += event.text;
}

void ReceiptDraft::note(const RollbackEvent& event) {
  std::string& text = texts_.at(static_cast<std::size_t>(event.choice));
  FP_CHECK(event.text_bytes <= text.size());
  text.resize(event.text_bytes);
}

void ReceiptDraft::note(const ChoiceDoneEvent& event) {
  const auto index = static_cast<std::size_t>(event.choice);
  ReceiptChoice& choice = receipt_.choices.at(index);
  choice.finish = finish_reason_name(event.reason);
  choice.seed = event.seed;
  choice.tokens = static_cast<std::int64_t>(event.tokens.size());
  choice.tokens_digest = tokens_commitment(receipt_.salt, index, event.tokens);
  if (!event.supervision) return;
  choice.supervision = receipt_supervision(*event.supervision);
  keep_chain(index, print_segments(event.supervision->segments));
}

// The receipt commits to a chain by its head; the chain itself is kept as far as there is room.
void ReceiptDraft::keep_chain(std::size_t choice, std::string chain) {
  if (chain_bytes_ + chain.size() > kReceiptMaxChainBytes) {
    log_warn("fingerprint chain not kept with the receipt: too long",
             {{"response", receipt_.response_id}, {"choice", static_cast<std::int64_t>(choice)}});
    return;
  }
  chain_bytes_ += chain.size();
  chains_.resize(receipt_.choices.size());
  chains_[choice] = std::move(chain);
}

void ReceiptDraft::describe_anchor(const ServiceContext& service, const UsageReport& usage) {
  ReceiptAnchor& anchor = receipt_.anchor;
  anchor.digests.clear();
  for (const std::string& digest : usage.anchors) anchor.digests.push_back(digest_or_none(digest));
  if (anchor.digests.empty()) anchor.digests = {kReceiptNone};
  // More anchors than a receipt holds: the last ones; that is more than anybody revokes.
  while (anchor.digests.size() > kReceiptMaxAnchors) anchor.digests.erase(anchor.digests.begin());
  const std::string& last = usage.anchors.empty() ? std::string() : usage.anchors.back();
  const std::optional<AnchorStanding> standing = standing_of(service, last);
  const bool promoted = standing && standing->authority;
  if (!promoted && service.anchors != nullptr) {
    anchor.policy_epoch = static_cast<std::int64_t>(service.anchors->report().policy_epoch);
  }
  if (!standing) return;
  anchor.mode = anchor_mode_name(standing->binding.mode);
  anchor.gamma = receipt_number(standing->binding.gamma);
  anchor.psi = receipt_number(standing->binding.psi);
  anchor.beta = receipt_number(standing->binding.beta_policy);
  anchor.insecure = promoted ? 0 : 1;
  if (!promoted) return;
  anchor.promotion = standing->authority->promotion_digest;
  anchor.policy_epoch = static_cast<std::int64_t>(standing->authority->policy_epoch);
}

ReceiptInfo ReceiptDraft::issue(ServerState& state, const UsageReport& usage) {
  for (std::size_t i = 0; i < texts_.size(); ++i) {
    receipt_.choices[i].text_digest =
        receipt_commitment(receipt_.salt, response_label(i), texts_[i]);
  }
  describe_anchor(state.service, usage);
  receipt_.tokens.anchor = usage.anchor_tokens;
  receipt_.tokens.prompt = usage.prompt_tokens;
  receipt_.tokens.dropped = usage.dropped_tokens;
  receipt_.tokens.cached = usage.cached_tokens;
  receipt_.tokens.completion = usage.completion_tokens;
  for (int i = 0; i < kKvClasses; ++i) {
    const auto cls = static_cast<KvClass>(i);
    if (cls != KvClass::kReserved) receipt_.mass_ppm[kv_class_name(cls)] = to_ppm(usage.mass[i]);
  }
  receipt_.issued_at = unix_now();
  const Status issued = state.service.receipts->issue(receipt_, std::move(chains_));
  state.metrics.count_receipt(issued ? "issued" : issued.error().code);
  if (issued) return {receipt_.id, "acknowledged", ""};
  log_error("no receipt: " + issued.error().message, {{"code", issued.error().code}});
  return {receipt_.id, "failed", issued.error().code};
}

}  // namespace fieldprint
