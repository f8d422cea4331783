#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "engine/harness.h"
#include "engine/token_history.h"

namespace fieldprint {
namespace {

std::vector<StepDemand> demands(const std::vector<std::int32_t>& remaining) {
  std::vector<StepDemand> out;
  for (std::size_t i = 0; i < remaining.size(); ++i) out.push_back({16 * (i + 1), remaining[i]});
  return out;
}

using Tokens = std::vector<std::int32_t>;

TEST(ShareStep, EveryDecodingSequenceGetsItsToken) {
  const StepLimits limits{512, 32, 512};
  EXPECT_EQ(share_step(demands({1, 1, 1}), limits, 0).tokens, (Tokens{1, 1, 1}));
  EXPECT_EQ(share_step(demands({1, 1000, 1}), limits, 0).tokens, (Tokens{1, 32, 1}));
}

TEST(ShareStep, PrefillAloneTakesTheWholeChunk) {
  EXPECT_EQ(share_step(demands({1000}), {512, 64, 600}, 0).tokens, (Tokens{512}));
  EXPECT_EQ(share_step(demands({1000}), {512, 64, 300}, 0).tokens, (Tokens{300}));
  EXPECT_EQ(share_step(demands({20, 1000}), {512, 64, 512}, 0).tokens, (Tokens{20, 492}));
}

TEST(ShareStep, TheRunnersLimitCountsDecodingTokens) {
  EXPECT_EQ(share_step(demands({1, 1, 100}), {512, 64, 10}, 0).tokens, (Tokens{1, 1, 8}));
}

TEST(ShareStep, QuantaGoRoundFromTheOneServedLast) {
  const StepLimits limits{512, 32, 512};
  const auto waiting = demands({1, 100, 100, 100, 100});
  StepShares shares = share_step(waiting, limits, 0);
  EXPECT_EQ(shares.tokens, (Tokens{1, 16, 16, 0, 0}));
  shares = share_step(waiting, limits, shares.cursor);
  EXPECT_EQ(shares.tokens, (Tokens{1, 0, 0, 16, 16}));
  shares = share_step(waiting, limits, shares.cursor);
  EXPECT_EQ(shares.tokens, (Tokens{1, 16, 16, 0, 0}));
}

TEST(ShareStep, ALongPromptDoesNotDelayAShortOne) {
  // Sixteen prefilling sequences, one of them huge, while another decodes.
  std::vector<std::int32_t> remaining(17, 40);
  remaining[0] = 1;
  remaining[1] = 100000;
  std::uint64_t cursor = 0;
  std::map<std::size_t, int> last_served;
  for (int step = 1; step <= 60; ++step) {
    const StepShares shares = share_step(demands(remaining), {512, 64, 512}, cursor);
    cursor = shares.cursor;
    const int used = std::accumulate(shares.tokens.begin(), shares.tokens.end(), 0);
    ASSERT_LE(used, 64 + 1);
    for (std::size_t i = 1; i < remaining.size(); ++i) {
      if (shares.tokens[i] > 0) {
        ASSERT_LE(step - last_served[i], 4) << i;  // ceil(16 sequences * 16 rows / 64)
        last_served[i] = step;
        remaining[i] = std::max(2, remaining[i] - shares.tokens[i]);
      }
    }
  }
}

TEST(TokenHistory, FirstTokenIsTheSinkOnlyWithoutAnAnchor) {
  const std::vector<TokenSpan> prompt = {
      {{1, 2}, KvClass::kUser}, {{}, KvClass::kTool}, {{3}, KvClass::kUser}};
  const TokenHistory alone(prompt, FirstToken::kIsSink);
  const auto runs = alone.runs(0, 3);
  ASSERT_EQ(runs.size(), 2U);
  EXPECT_EQ(runs[0].cls, KvClass::kSink);
  EXPECT_EQ(runs[0].tokens, 1);
  EXPECT_EQ(runs[1].tokens, 2);  // neighbours of one class are one run
  const TokenHistory behind(prompt, FirstToken::kFollowsSink);
  ASSERT_EQ(behind.runs(0, 3).size(), 1U);
  EXPECT_EQ(behind.runs(1, 1)[0].tokens, 1);
  EXPECT_TRUE(behind.runs(3, 0).empty());
}

// Sixteen conversations of very different prompts at once, through the whole core.
TEST(Fairness, SixteenConversationsProgressSideBySide) {
  testing::HarnessOptions options;
  options.pages = 2048;
  testing::Harness harness(options);
  for (unsigned seed = 1; seed <= 16; ++seed) {
    GenerationRequest request =
        testing::make_request(seed == 1 ? 4000 : 30 + static_cast<int>(seed), seed, 60);
    request.ignore_eos = true;
    harness.submit(request);
  }
  std::map<const testing::Client*, int> seen;
  std::map<const testing::Client*, int> gap;
  std::map<const testing::Client*, int> first_text;
  for (int steps = 1; harness.step().worked; ++steps) {
    for (const auto& client : harness.clients()) {
      const int events = client->outcome.events;
      if (events > 0) first_text.try_emplace(client.get(), steps);
      const bool decoding = events > 0 && !client->outcome.ended();
      // Half a U+00E9 or a token without text makes no event, so gaps are not all zero.
      gap[client.get()] = decoding && events == seen[client.get()] ? gap[client.get()] + 1 : 0;
      ASSERT_LE(gap[client.get()], 6);
      seen[client.get()] = events;
    }
  }
  for (const auto& client : harness.clients()) testing::expect_as_oracle(*client);
  // The 4000 tokens arrived first, yet every short prompt (at most 46 tokens, three quanta of
  // at least one in four steps) is answered while they are still being computed.
  const int longest = first_text[harness.clients()[0].get()];
  EXPECT_GT(longest, 40);
  for (std::size_t i = 1; i < 16; ++i) EXPECT_LE(first_text[harness.clients()[i].get()], 15) << i;
}

}  // namespace
}  // namespace fieldprint
