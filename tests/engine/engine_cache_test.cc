// Prefix cache, preemption and exhaustion: what is allowed to change is the cost.
#include <gtest/gtest.h>

#include "engine/harness.h"

namespace fieldprint::testing {
namespace {

TEST(PrefixCache, TheSecondRequestComputesOnlyTheRest) {
  Harness harness({});
  GenerationRequest request = make_request(100, 1, 10);
  harness.submit(request);
  harness.run();
  const std::int64_t first = harness.runner().tokens_computed();
  Client& second = harness.submit(request);
  harness.run();
  expect_as_oracle(second);
  // Sink page of 1 row, then six pages of 16: 97 tokens are in closed pages.
  EXPECT_EQ(second.outcome.usage->cached_tokens, 97);
  EXPECT_EQ(harness.runner().tokens_computed() - first, first - 97);
  EXPECT_EQ(harness.core().stats().cached_tokens, 97U);
}

TEST(PrefixCache, TheNextTurnFindsWhatWasGenerated) {
  Harness harness({});
  GenerationRequest turn = make_request(50, 1, 40);
  turn.ignore_eos = true;
  turn.sampling.temperature = 0.0F;
  turn.sampling.logprobs = 0;
  Client& first = harness.submit(turn);
  harness.run();
  std::vector<TokenId> answer;
  for (const TokenLogprob& entry : first.outcome.choices[0].logprobs) {
    answer.push_back(entry.token);
  }
  ASSERT_EQ(answer.size(), 40U);
  turn.prompt.push_back({answer, KvClass::kOutput});
  turn.prompt.push_back({{1, 2, 3}, KvClass::kUser});
  Client& second = harness.submit(turn);
  harness.run();
  expect_as_oracle(second);
  // Prompt: 1 + 48 full, 1 left in a page that the change of class closed. Output: 39 of
  // 40 tokens were computed, 32 of them in full pages.
  EXPECT_EQ(second.outcome.usage->cached_tokens, 50 + 32);
}

TEST(PrefixCache, SaltAnchorAndClassKeepPrefixesApart) {
  HarnessOptions options;
  options.anchor = {1, 2, 3};
  Harness harness(options);
  GenerationRequest request = make_request(60, 1, 5);
  harness.submit(request);
  harness.run();
  GenerationRequest salted = request;
  salted.cache_salt = "tenant";
  GenerationRequest bare = request;
  bare.use_anchor = false;
  GenerationRequest other_class = request;
  other_class.prompt[0].cls = KvClass::kTool;
  for (const GenerationRequest& r : {salted, bare, other_class}) {
    Client& client = harness.submit(r);
    harness.run();
    expect_as_oracle(client, options.anchor);
    EXPECT_EQ(client.outcome.usage->cached_tokens, 0);
  }
  Client& same = harness.submit(request);
  harness.run();
  EXPECT_EQ(same.outcome.usage->cached_tokens, 48);
}

TEST(PrefixCache, OffMeansOffAndTheAnswersAreTheSame) {
  HarnessOptions options;
  options.engine.prefix_cache = false;
  Harness harness(options);
  for (int i = 0; i < 2; ++i) {
    Client& client = harness.submit(make_request(100, 1, 10));
    harness.run();
    expect_as_oracle(client);
    EXPECT_EQ(client.outcome.usage->cached_tokens, 0);
  }
  EXPECT_EQ(harness.core().stats().pages_cached, 0);
}

class Preemption : public ::testing::TestWithParam<bool> {};

TEST_P(Preemption, ATightPoolGivesTheSameAnswers) {
  HarnessOptions options;
  options.pages = 24;  // 384 rows for eight requests that end at about 130 each
  options.engine.prefix_cache = GetParam();
  options.engine.max_sequences = 8;
  Harness harness(options);
  for (unsigned seed = 1; seed <= 8; ++seed) {
    GenerationRequest request = make_request(30, seed, 100);
    request.ignore_eos = true;
    harness.submit(request);
  }
  harness.run();
  for (const auto& client : harness.clients()) expect_as_oracle(*client);
  EXPECT_GT(harness.core().stats().preemptions, 0U);
  EXPECT_EQ(harness.core().stats().pages_used, 0);
}

TEST_P(Preemption, ChoicesOfOneRequestPreemptEachOther) {
  HarnessOptions options;
  options.pages = 16;
  options.engine.prefix_cache = GetParam();
  Harness harness(options);
  GenerationRequest request = make_request(60, 3, 120);
  request.ignore_eos = true;
  request.choices = 4;
  Client& client = harness.submit(request);
  harness.run();
  expect_as_oracle(client);
  EXPECT_GT(harness.core().stats().preemptions, 0U);
}

INSTANTIATE_TEST_SUITE_P(Cache, Preemption, ::testing::Bool());

TEST(Exhaustion, TheOldestIsNeverPreempted) {
  HarnessOptions options;
  options.pages = 12;
  Harness harness(options);
  GenerationRequest request = make_request(30, 1, 120);
  request.ignore_eos = true;
  Client& oldest = harness.submit(request);
  request = make_request(30, 2, 120);
  request.ignore_eos = true;
  Client& younger = harness.submit(request);
  int gap = 0;
  int seen = 0;
  while (!oldest.outcome.ended()) {
    harness.step();
    gap = oldest.outcome.events == seen ? gap + 1 : 0;
    seen = oldest.outcome.events;
    ASSERT_LT(gap, 4);
  }
  harness.run();
  expect_as_oracle(oldest);
  expect_as_oracle(younger);
}

TEST(Exhaustion, APromptThatCanNeverFitIsRefusedAtOnce) {
  HarnessOptions options;
  options.pages = 8;
  Harness harness(options);
  GenerationRequest request = make_request(1, 1, 5);
  request.prompt.clear();
  for (int i = 0; i < 9; ++i) {  // a page for each change of class
    request.prompt.push_back({{1, 2}, i % 2 == 0 ? KvClass::kUser : KvClass::kTool});
  }
  const auto refused = harness.core().prepare(request);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "kv_exhausted");
}

TEST(Exhaustion, ALoneRequestThatOutgrowsThePoolFailsByName) {
  HarnessOptions options;
  options.pages = 6;
  Harness harness(options);
  GenerationRequest request = make_request(10, 1, 5);
  request.prompt = {{{1, 2}, KvClass::kUser}, {{1, 2}, KvClass::kTool}, {{1, 2}, KvClass::kUser}};
  request.max_tokens = 80;  // within the context of 96, but pages are lost to the classes
  request.ignore_eos = true;
  Client& client = harness.submit(request);
  harness.run();
  ASSERT_TRUE(client.outcome.error);
  EXPECT_EQ(client.outcome.error->code, "kv_exhausted");
  EXPECT_FALSE(client.outcome.choices[0].text.empty());
  EXPECT_EQ(harness.core().stats().pages_used, 0);
}

}  // namespace
}  // namespace fieldprint::testing
