#include "engine/supervision_oracle.h"

#include "core/check.h"
#include "engine/counter_rng.h"

namespace fieldprint::testing {
namespace {

// What a rollback can change.
struct Conditions {
  std::vector<TokenSpan> prompt;
  SamplingParams sampling;
  std::uint64_t seed = 0;
  std::vector<std::pair<std::uint64_t, TokenId>> forbidden;
  std::vector<KvClass> quarantined;
};

void change(Conditions& now, const GenerationRequest& request, const RollbackRecord& record,
            std::size_t number, TokenId rejected) {
  const RollbackSettings settings;
  switch (record.change) {
    case RollbackChange::kReseed: {
      const PhiloxBlock drawn = philox4x32(
          {static_cast<std::uint32_t>(number), 0, 2, 0},
          {static_cast<std::uint32_t>(now.seed), static_cast<std::uint32_t>(now.seed >> 32)});
      now.seed = (std::uint64_t{drawn[0]} << 32) | drawn[1];
      now.sampling.temperature *= settings.cooler;
      now.forbidden.emplace_back(record.to_token, rejected);
      break;
    }
    case RollbackChange::kStrongerAnchor:
      now.forbidden.emplace_back(record.to_token, rejected);
      break;
    case RollbackChange::kRemind:
      now.prompt = request.supervision->reminder;
      now.sampling = request.sampling;
      now.forbidden.clear();
      break;
    case RollbackChange::kQuarantine:
      now.quarantined.push_back(record.quarantined);
      now.prompt = request.prompt;
      std::erase_if(now.prompt, [&](const TokenSpan& span) {
        return std::ranges::find(now.quarantined, span.cls) != now.quarantined.end();
      });
      now.sampling = request.sampling;
      now.forbidden.clear();
      break;
    case RollbackChange::kStop:
    case RollbackChange::kManual:
      break;
  }
}

TokenId sample(const Conditions& now, const std::vector<TokenId>& anchor,
               const std::vector<TokenId>& output) {
  std::vector<TokenId> prompt;
  for (const TokenSpan& span : now.prompt) {
    prompt.insert(prompt.end(), span.tokens.begin(), span.tokens.end());
  }
  Sampler sampler(now.sampling, now.seed, prompt);
  for (const TokenId token : output) sampler.accept(token);
  for (const auto& [step, token] : now.forbidden) sampler.forbid(step, token);
  const auto sampled = sampler.sample(fake_logits(history_of(now.prompt, anchor, output)),
                                      static_cast<std::uint64_t>(output.size()));
  FP_CHECK(sampled.has_value());
  return sampled->token;
}

// Text of the tokens; true: a stop string ended it.
bool text_of(const GenerationRequest& request, std::span<const TokenId> tokens, std::string& text) {
  const FakeDecoder decoder;
  TextStream stream(request.stop);
  text.clear();
  for (const TokenId token : tokens) {
    if (token == kFakeEnd && !request.ignore_eos) break;
    const TextPiece piece = stream.push(decoder.text(token), std::nullopt);
    text += piece.text;
    if (piece.stopped) return true;
  }
  text += stream.finish().text;
  return false;
}

}  // namespace

std::vector<FakeToken> history_of(const std::vector<TokenSpan>& prompt,
                                  const std::vector<TokenId>& anchor,
                                  std::span<const TokenId> output) {
  std::vector<FakeToken> history;
  const auto add = [&](TokenId token, KvClass cls) {
    const auto pos = static_cast<std::int32_t>(history.size());
    history.push_back({token, pos, pos == 0 ? KvClass::kSink : cls});
  };
  for (const TokenId token : anchor) add(token, KvClass::kAnchor);
  for (const TokenSpan& span : prompt) {
    for (const TokenId token : span.tokens) add(token, span.cls);
  }
  for (const TokenId token : output) add(token, KvClass::kOutput);
  return history;
}

SupervisedAnswer expected_supervised(const GenerationRequest& request, std::uint64_t seed,
                                     const std::vector<TokenId>& anchor,
                                     std::span<const RollbackRecord> rollbacks) {
  Conditions now{request.prompt, request.sampling, seed, {}, {}};
  SupervisedAnswer answer;
  std::size_t next = 0;
  for (bool over = false;;) {
    if (next < rollbacks.size() && answer.tokens.size() == rollbacks[next].from_token) {
      const RollbackRecord& record = rollbacks[next++];
      const TokenId rejected = answer.tokens[record.to_token];
      answer.tokens.resize(record.to_token);
      change(now, request, record, next, rejected);
      over = record.change == RollbackChange::kStop;
      if (over) answer.reason = FinishReason::kContentFilter;
    }
    if (over) break;
    answer.tokens.push_back(sample(now, anchor, answer.tokens));
    if (answer.tokens.back() == kFakeEnd && !request.ignore_eos) {
      answer.reason = FinishReason::kStop;
      over = true;
    } else if (text_of(request, answer.tokens, answer.text)) {
      answer.reason = FinishReason::kStop;
      over = true;
    } else if (answer.tokens.size() == static_cast<std::size_t>(request.max_tokens)) {
      answer.reason = FinishReason::kLength;
      over = true;
    }
    // An ending too is taken back by a breach of the last segment.
    if (over && next < rollbacks.size() && answer.tokens.size() == rollbacks[next].from_token) {
      over = false;
      continue;
    }
    if (over) break;
  }
  text_of(request, answer.tokens, answer.text);
  return answer;
}

}  // namespace fieldprint::testing
