#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

namespace fieldprint {
namespace {

constexpr int kDraws = 20000;

std::map<TokenId, int> histogram(const SamplingParams& params, const std::vector<float>& logits) {
  std::map<TokenId, int> counts;
  Sampler sampler(params, 42, {});
  for (int step = 0; step < kDraws; ++step) {
    ++counts[sampler.sample(logits, static_cast<std::uint64_t>(step))->token];
  }
  return counts;
}

// Pearson's statistic against `expected` probabilities; impossible tokens must not occur.
double chi_square(const std::map<TokenId, int>& counts, const std::vector<double>& expected) {
  double statistic = 0.0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto found = counts.find(static_cast<TokenId>(i));
    const double seen = found == counts.end() ? 0.0 : found->second;
    if (expected[i] == 0.0) {
      EXPECT_EQ(seen, 0.0) << "token " << i << " is outside the allowed set";
      continue;
    }
    const double want = expected[i] * kDraws;
    statistic += (seen - want) * (seen - want) / want;
  }
  return statistic;
}

std::vector<float> logits_of(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

std::vector<double> normalised(std::vector<double> weights) {
  double sum = 0.0;
  for (const double w : weights) sum += w;
  for (double& w : weights) w /= sum;
  return weights;
}

const std::vector<double> kEight = {0.05, 0.30, 0.02, 0.20, 0.03, 0.25, 0.05, 0.10};
// 99.9th percentiles of chi-square; seeds are fixed, so a pass is a pass for good.
constexpr double kLimit7 = 24.3;  // 7 degrees of freedom
constexpr double kLimit3 = 16.3;
constexpr double kLimit2 = 13.8;

TEST(Sampler, FollowsTheSoftmax) {
  EXPECT_LT(chi_square(histogram({}, logits_of(kEight)), kEight), kLimit7);
}

TEST(Sampler, ChiSquareWouldSeeAWrongTemperature) {
  SamplingParams params;
  params.temperature = 0.9F;
  EXPECT_GT(chi_square(histogram(params, logits_of(kEight)), kEight), kLimit7);
}

TEST(Sampler, TemperatureSharpens) {
  SamplingParams params;
  params.temperature = 0.5F;
  std::vector<double> squared;
  for (const double p : kEight) squared.push_back(p * p);
  EXPECT_LT(chi_square(histogram(params, logits_of(kEight)), normalised(squared)), kLimit7);
}

TEST(Sampler, TopKKeepsTheBestAndTheirRatios) {
  SamplingParams params;
  params.top_k = 4;
  EXPECT_LT(chi_square(histogram(params, logits_of(kEight)),
                       normalised({0, 0.30, 0, 0.20, 0, 0.25, 0, 0.10})),
            kLimit3);
}

TEST(Sampler, TopPKeepsTheSmallestSetThatReachesIt) {
  SamplingParams params;
  params.top_p = 0.7F;  // 0.30 + 0.25 = 0.55 < 0.7 <= 0.75
  EXPECT_LT(chi_square(histogram(params, logits_of(kEight)),
                       normalised({0, 0.30, 0, 0.20, 0, 0.25, 0, 0})),
            kLimit2);
}

TEST(Sampler, TopPCountsWithinTopK) {
  SamplingParams params;
  params.top_k = 4;     // leaves 0.30 0.25 0.20 0.10, sum 0.85
  params.top_p = 0.6F;  // of 0.85: 0.51 is reached by the first two
  EXPECT_LT(
      chi_square(histogram(params, logits_of(kEight)), normalised({0, 0.30, 0, 0, 0, 0.25, 0, 0})),
      10.8);
}

TEST(Sampler, MinPIsAShareOfTheBest) {
  SamplingParams params;
  params.min_p = 0.5F;  // at least 0.15
  EXPECT_LT(chi_square(histogram(params, logits_of(kEight)),
                       normalised({0, 0.30, 0, 0.20, 0, 0.25, 0, 0})),
            kLimit2);
}

TEST(Sampler, TinyTopPIsTheBestToken) {
  SamplingParams params;
  params.top_p = 1e-6F;
  EXPECT_EQ(histogram(params, logits_of(kEight)), (std::map<TokenId, int>{{1, kDraws}}));
}

TEST(Sampler, FlatNucleusOverALargeVocabularyGrowsPastItsFirstGuess) {
  const std::vector<float> flat(5000, 1.0F);
  SamplingParams params;
  params.top_p = 0.5F;
  Sampler sampler(params, 42, {});
  TokenId largest = 0;
  for (std::uint64_t step = 0; step < 300; ++step) {
    largest = std::max(largest, sampler.sample(flat, step)->token);
  }
  // Ties are broken by id, so the nucleus is exactly the first half.
  EXPECT_LT(largest, 2500);
  EXPECT_GT(largest, 2400);
}

TEST(Sampler, GreedyTakesTheSmallestIdAmongEquals) {
  SamplingParams params;
  params.temperature = 0.0F;
  Sampler sampler(params, 1, {});
  EXPECT_EQ(sampler.sample(std::vector<float>{1, 5, 5, 2}, 0)->token, 1);
}

TEST(Sampler, DependsOnSeedAndStepOnly) {
  const std::vector<float> logits = logits_of(kEight);
  Sampler a({}, 9, {});
  Sampler b({}, 9, {});
  for (std::uint64_t step = 0; step < 100; ++step) (void)a.sample(logits, step);
  bool differs = false;
  for (std::uint64_t step = 200; step > 0; --step) {
    EXPECT_EQ(a.sample(logits, step)->token, b.sample(logits, step)->token);
    differs = differs || b.fork(10).sample(logits, step)->token != b.sample(logits, step)->token;
  }
  EXPECT_TRUE(differs);
}

// Reads a penalised row back through the log-probabilities of greedy choices: a token
// wins exactly when its adjusted logit does.
TokenId greedy(SamplingParams params, const std::vector<float>& logits,
               const std::vector<TokenId>& prompt, const std::vector<TokenId>& output) {
  params.temperature = 0.0F;
  Sampler sampler(std::move(params), 0, prompt);
  for (const TokenId token : output) sampler.accept(token);
  return sampler.sample(logits, 0)->token;
}

TEST(Sampler, RepetitionPenaltyDividesPositiveAndMultipliesNegative) {
  SamplingParams params;
  params.repetition_penalty = 2.0F;
  // Token 0 was in the prompt: 4 -> 2.
  EXPECT_EQ(greedy(params, {4.0F, 2.01F}, {0}, {}), 1);
  EXPECT_EQ(greedy(params, {4.0F, 1.99F}, {0}, {}), 0);
  // Token 0 was generated: -1 -> -2.
  EXPECT_EQ(greedy(params, {-1.0F, -1.99F}, {}, {0}), 1);
  EXPECT_EQ(greedy(params, {-1.0F, -2.01F}, {}, {0}), 0);
  // Seen twice counts once.
  EXPECT_EQ(greedy(params, {4.0F, 1.99F}, {0}, {0, 0}), 0);
}

TEST(Sampler, FrequencyAndPresenceCountTheOutputOnly) {
  SamplingParams params;
  params.frequency_penalty = 0.5F;
  params.presence_penalty = 0.25F;
  // Three times: 2 - 3*0.5 - 0.25 = 0.25.
  EXPECT_EQ(greedy(params, {2.0F, 0.26F}, {}, {0, 0, 0}), 1);
  EXPECT_EQ(greedy(params, {2.0F, 0.24F}, {}, {0, 0, 0}), 0);
  EXPECT_EQ(greedy(params, {2.0F, 1.9F}, {0, 0, 0}, {}), 0);
}

TEST(Sampler, BiasComesBeforeTheRepetitionPenalty) {
  SamplingParams params;
  params.repetition_penalty = 2.0F;
  params.logit_bias = {{0, 3.0F}};
  // (1 + 3) / 2 = 2, not 1/2 + 3.
  EXPECT_EQ(greedy(params, {1.0F, 2.01F}, {0}, {}), 1);
  EXPECT_EQ(greedy(params, {1.0F, 1.99F}, {0}, {}), 0);
}

TEST(Sampler, LogprobsAreOfTheRawDistribution) {
  SamplingParams params;
  params.temperature = 0.0F;
  params.logprobs = 3;
  params.logit_bias = {{2, 100.0F}};
  Sampler sampler(params, 0, {});
  const auto sampled = sampler.sample(logits_of(kEight), 0);
  ASSERT_TRUE(sampled);
  EXPECT_EQ(sampled->token, 2);
  EXPECT_NEAR(sampled->logprob, std::log(0.02), 1e-5);
  ASSERT_EQ(sampled->top.size(), 3U);
  EXPECT_EQ(sampled->top[0].token, 1);
  EXPECT_NEAR(sampled->top[0].value, std::log(0.30), 1e-5);
  EXPECT_EQ(sampled->top[2].token, 3);
}

TEST(Sampler, NonFiniteLogitsAreANamedError) {
  Sampler sampler({}, 0, {});
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const auto sampled = sampler.sample(std::vector<float>{0.0F, bad, 1.0F}, 0);
    ASSERT_FALSE(sampled);
    EXPECT_EQ(sampled.error().code, "logits_not_finite");
  }
}

TEST(Sampler, OverflowInThePenaltiesIsANamedError) {
  SamplingParams params;
  params.repetition_penalty = 0.01F;
  Sampler sampler(params, 0, std::vector<TokenId>{0});
  const auto sampled = sampler.sample(std::vector<float>{3e38F, 0.0F}, 0);
  ASSERT_FALSE(sampled);
  EXPECT_EQ(sampled.error().code, "logits_not_finite");
}

struct BadParam {
  const char* field;
  void (*spoil)(SamplingParams&);
};

TEST(ValidateSampling, NamesTheFieldAtFault) {
  const BadParam cases[] = {
      {"temperature", [](SamplingParams& p) { p.temperature = -0.1F; }},
      {"temperature", [](SamplingParams& p) { p.temperature = 2.1F; }},
      {"temperature",
       [](SamplingParams& p) { p.temperature = std::numeric_limits<float>::quiet_NaN(); }},
      {"top_k", [](SamplingParams& p) { p.top_k = -1; }},
      {"top_p", [](SamplingParams& p) { p.top_p = 0.0F; }},
      {"top_p", [](SamplingParams& p) { p.top_p = 1.01F; }},
      {"min_p", [](SamplingParams& p) { p.min_p = -0.01F; }},
      {"repetition_penalty", [](SamplingParams& p) { p.repetition_penalty = 0.0F; }},
      {"presence_penalty", [](SamplingParams& p) { p.presence_penalty = 2.5F; }},
      {"frequency_penalty", [](SamplingParams& p) { p.frequency_penalty = -2.5F; }},
      {"logprobs", [](SamplingParams& p) { p.logprobs = 21; }},
      {"logit_bias",
       [](SamplingParams& p) {
         p.logit_bias = {{100, 1.0F}};
       }},
      {"logit_bias",
       [](SamplingParams& p) {
         p.logit_bias = {{-1, 1.0F}};
       }},
      {"logit_bias",
       [](SamplingParams& p) {
         p.logit_bias = {{1, 101.0F}};
       }},
      {"logit_bias",
       [](SamplingParams& p) {
         p.logit_bias = {{1, 1.0F}, {1, 2.0F}};
       }},
  };
  EXPECT_TRUE(validate(SamplingParams{}, 100));
  for (const BadParam& bad : cases) {
    SamplingParams params;
    bad.spoil(params);
    const Status status = validate(params, 100);
    ASSERT_FALSE(status) << bad.field;
    EXPECT_EQ(status.error().param, bad.field);
    EXPECT_EQ(status.error().code, std::string("invalid_") + bad.field);
    EXPECT_EQ(status.error().kind, ErrorKind::kInvalid);
  }
}

TEST(ValidateRequest, NamesTheFieldAtFault) {
  const auto good = [] {
    GenerationRequest request;
    request.prompt = {{{1, 2}, KvClass::kUser}};
    return request;
  };
  EXPECT_TRUE(validate(good(), 100));
  const auto code_of = [](const GenerationRequest& request) {
    const Status status = validate(request, 100);
    return status ? std::string() : status.error().code;
  };
  GenerationRequest request = good();
  request.max_tokens = 0;
  EXPECT_EQ(code_of(request), "invalid_max_tokens");
  request = good();
  request.choices = 17;
  EXPECT_EQ(code_of(request), "invalid_choices");
  request = good();
  request.stop = {""};
  EXPECT_EQ(code_of(request), "invalid_stop");
  request.stop = {"\xC3"};
  EXPECT_EQ(code_of(request), "invalid_stop");
  request.stop.assign(17, "x");
  EXPECT_EQ(code_of(request), "invalid_stop");
  request = good();
  request.prompt = {{{}, KvClass::kUser}};
  EXPECT_EQ(code_of(request), "invalid_prompt");
  request.prompt = {{{100}, KvClass::kUser}};
  EXPECT_EQ(code_of(request), "invalid_prompt");
  request.prompt = {{{1}, KvClass::kAnchor}};
  EXPECT_EQ(code_of(request), "invalid_prompt");
}

}  // namespace
}  // namespace fieldprint
