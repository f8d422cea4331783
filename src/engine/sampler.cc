#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/check.h"
#include "engine/counter_rng.h"

namespace fieldprint {
namespace {

// Below this, softmax differs from greedy only when two logits are equal to the last
// bits; 1/temperature would overflow soon after.
constexpr float kGreedyBelow = 1e-5F;
constexpr float kNoFloor = -std::numeric_limits<float>::infinity();
// Candidates that top-p tries before it considers the whole vocabulary.
constexpr std::size_t kSmallNucleus = 256;
// Far below any logit, and finite: its weight is zero.
constexpr float kForbidden = -1e30F;

tl::unexpected<Error> not_finite(const char* where) {
  return fail(ErrorKind::kInternal, "logits_not_finite",
              std::string("the model's logits hold NaN or infinity ") + where +
                  "; the generation was stopped, its KV pages dropped");
}

}  // namespace

Sampler::Sampler(SamplingParams params, std::uint64_t seed, std::span<const TokenId> prompt)
    : params_(std::move(params)), seed_(seed) {
  if (params_.repetition_penalty != 1.0F) prompt_.insert(prompt.begin(), prompt.end());
}

Sampler Sampler::fork(std::uint64_t seed) const {
  Sampler copy(*this);
  copy.seed_ = seed;
  return copy;
}

void Sampler::accept(TokenId token) {
  if (params_.repetition_penalty != 1.0F || params_.presence_penalty != 0.0F ||
      params_.frequency_penalty != 0.0F) {
    ++output_count_[token];
  }
}

void Sampler::retract(TokenId token) {
  const auto it = output_count_.find(token);
  if (it != output_count_.end() && --it->second == 0) output_count_.erase(it);
}

bool Sampler::adjusts_logits(std::uint64_t step) const {
  return !params_.logit_bias.empty() || !prompt_.empty() || !output_count_.empty() ||
         std::ranges::any_of(forbidden_, [step](const auto& f) { return f.first == step; });
}

void Sampler::adjust(std::span<float> logits, std::uint64_t step) const {
  const auto repeated = [&](TokenId token) {
    float& value = logits[static_cast<std::size_t>(token)];
    value = value > 0.0F ? value / params_.repetition_penalty : value * params_.repetition_penalty;
  };
  for (const auto& [token, bias] : params_.logit_bias)
    logits[static_cast<std::size_t>(token)] += bias;
  for (const TokenId token : prompt_) repeated(token);
  for (const auto& [token, count] : output_count_) {
    if (!prompt_.contains(token)) repeated(token);
    logits[static_cast<std::size_t>(token)] -=
        params_.frequency_penalty * static_cast<float>(count) + params_.presence_penalty;
  }
  for (const auto& [at, token] : forbidden_) {
    if (at == step) logits[static_cast<std::size_t>(token)] = kForbidden;
  }
}

Result<SampledToken> Sampler::sample(std::span<const float> logits, std::uint64_t step) {
  const LogitMax raw_max = find_max(logits);
  if (!raw_max.finite) return not_finite("as computed");
  SampledToken out;
  std::span<const float> used = logits;
  LogitMax max = raw_max;
  if (adjusts_logits(step)) {
    adjusted_.assign(logits.begin(), logits.end());
    adjust(adjusted_, step);
    max = find_max(adjusted_);
    if (!max.finite) return not_finite("after penalties");
    used = adjusted_;
  }
  out.token =
      params_.temperature < kGreedyBelow ? max.token : draw(used, max, uniform_at(seed_, step));
  if (params_.logprobs >= 0) fill_logprobs(logits, raw_max, out);
  return out;
}

TokenId Sampler::draw(std::span<const float> logits, const LogitMax& max, double uniform) {
  // p >= min_p * p_max  <=>  logit >= max + temperature * ln(min_p)
  const float floor =
      params_.min_p > 0.0F ? max.value + params_.temperature * std::log(params_.min_p) : kNoFloor;
  const auto top_k = static_cast<std::size_t>(params_.top_k);
  if (top_k > 0 && top_k < logits.size()) {
    top_n(logits, top_k, floor, candidates_);
    double total = 0.0;
    for (const Candidate& c : candidates_) total += weight(c, max);
    return draw_ranked(max, total, uniform).value_or(candidates_.back().token);
  }
  weights_.resize(logits.size());
  const double total =
      softmax_weights(logits, max.value, 1.0F / params_.temperature, floor, weights_);
  if (params_.top_p == 1.0F) return draw_by_id(max, total, uniform);
  // Nearly always a few tokens hold the mass; then nothing else is looked at.
  top_n(logits, kSmallNucleus, floor, candidates_);
  if (const auto token = draw_ranked(max, total, uniform)) return *token;
  const double mass =
      keep_nucleus(logits, max.value, 1.0F / params_.temperature,
                   total * static_cast<double>(params_.top_p), weights_, candidates_);
  return draw_by_id(max, mass, uniform);
}

double Sampler::weight(const Candidate& c, const LogitMax& max) const {
  return static_cast<double>(exp_negative((c.value - max.value) * (1.0F / params_.temperature)));
}

// Inversion over the ranked candidates, cut where they reach top_p of `total`. Nothing
// if they do not reach it.
std::optional<TokenId> Sampler::draw_ranked(const LogitMax& max, double total, double uniform) {
  const double wanted = total * static_cast<double>(params_.top_p);
  std::size_t kept = 0;
  double mass = 0.0;
  while (kept < candidates_.size() && (kept == 0 || mass < wanted)) {
    mass += weight(candidates_[kept++], max);
  }
  if (mass < wanted) return std::nullopt;
  double left = uniform * mass;
  for (std::size_t i = 0; i + 1 < kept; ++i) {
    left -= weight(candidates_[i], max);
    if (left < 0.0) return candidates_[i].token;
  }
  return candidates_[kept - 1].token;
}

TokenId Sampler::draw_by_id(const LogitMax& max, double total, double uniform) const {
  double left = uniform * total;
  TokenId last = max.token;  // stands if rounding leaves a rest after the last weight
  for (std::size_t i = 0; i < weights_.size(); ++i) {
    if (weights_[i] <= 0.0F) continue;
    last = static_cast<TokenId>(i);
    left -= static_cast<double>(weights_[i]);
    if (left < 0.0) break;
  }
  return last;
}

void Sampler::fill_logprobs(std::span<const float> logits, const LogitMax& max, SampledToken& out) {
  const double lse = log_sum_exp(logits, max.value);
  const auto logprob = [&](float value) {
    return static_cast<float>(static_cast<double>(value) - lse);
  };
  out.logprob = logprob(logits[static_cast<std::size_t>(out.token)]);
  top_n(logits, static_cast<std::size_t>(params_.logprobs), kNoFloor, out.top);
  for (Candidate& c : out.top) c.value = logprob(c.value);
}

}  // namespace fieldprint
