// An anchor is revoked while conversations run behind it.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/check.h"
#include "engine/harness.h"

namespace fieldprint::testing {
namespace {

constexpr const char* kDigest = "fake-anchor";

std::vector<TokenId> identity(std::int32_t length) {
  std::vector<TokenId> tokens;
  for (std::int32_t i = 0; i < length; ++i) tokens.push_back((i * 13 + 7) % 60);
  return tokens;
}

HarnessOptions anchored_options(std::int32_t length = 41) {
  HarnessOptions options;
  options.anchor = identity(length);
  options.engine.context_length = 400;
  return options;
}

GenerationRequest endless(std::int32_t prompt, unsigned seed, std::int32_t max_tokens = 60) {
  GenerationRequest request = make_request(prompt, seed, max_tokens);
  request.ignore_eos = true;
  return request;
}

AnchorFactory named_anchor(std::vector<TokenId> tokens, const std::string& digest) {
  return [tokens, digest](BlockPool& pool, Runner& runner) -> Result<AnchorInFront> {
    FP_ASSIGN(AnchorInFront anchor, fake_anchor(tokens)(pool, runner));
    anchor.digest = digest;
    anchor.seed = digest + "/0";
    return anchor;
  };
}

// The text of a conversation whose front changes after `switch_at` generated tokens.
std::string expected_over_switch(const GenerationRequest& request,
                                 const std::vector<TokenId>& before, std::int32_t switch_at,
                                 const std::vector<TokenId>& after) {
  std::vector<TokenId> prompt = request.prompt[0].tokens;
  Sampler sampler(request.sampling, *request.sampling.seed, prompt);
  std::vector<TokenId> output;
  const FakeDecoder decoder;
  std::string text;
  for (std::int32_t step = 0; step < request.max_tokens; ++step) {
    std::vector<FakeToken> history;
    const auto add = [&](TokenId token, KvClass cls) {
      const auto pos = static_cast<std::int32_t>(history.size());
      history.push_back({token, pos, pos == 0 ? KvClass::kSink : cls});
    };
    for (const TokenId token : step < switch_at ? before : after) add(token, KvClass::kAnchor);
    for (const TokenId token : prompt) add(token, KvClass::kUser);
    for (const TokenId token : output) add(token, KvClass::kOutput);
    const auto sampled = sampler.sample(fake_logits(history), static_cast<std::uint64_t>(step));
    FP_CHECK(sampled.has_value());
    sampler.accept(sampled->token);
    output.push_back(sampled->token);
  }
  TextStream stream({});
  for (const TokenId token : output) text += stream.push(decoder.text(token), std::nullopt).text;
  return text + stream.finish().text;
}

class Revocation : public ::testing::Test {
 protected:
  void watch(Harness& harness) {
    harness.runner().before_forward = [this](std::span<const SequenceStep> steps) -> Status {
      for (const SequenceStep& step : steps) {
        if (step.plan.anchor.pages.empty()) continue;
        ++anchored_steps_;
        anchor_pages_.assign(step.plan.anchor.pages.begin(), step.plan.anchor.pages.end());
        anchor_pages_.push_back(step.plan.pages[0]);  // the sink page
      }
      return {};
    };
  }
  void expect_rows_gone(Harness& harness) {
    ASSERT_FALSE(anchor_pages_.empty());
    for (const PageEntry& entry : anchor_pages_) {
      const auto rows = harness.runner().read_page(0, entry.page, entry.rows);
      ASSERT_TRUE(rows);
      EXPECT_TRUE(std::ranges::all_of(rows->k, [](std::uint16_t bits) { return bits == 0; }))
          << "page " << entry.page;
    }
  }

  std::vector<PageEntry> anchor_pages_;
  int anchored_steps_ = 0;
};

TEST_F(Revocation, EndsWhatRunsAndWaitsAndLeavesNoPage) {
  HarnessOptions options = anchored_options();
  options.engine.max_sequences = 3;
  Harness harness(options);
  watch(harness);
  GenerationRequest many = endless(20, 1);
  many.choices = 2;
  Client& running = harness.submit(many);
  GenerationRequest bare_request = endless(30, 2);
  bare_request.use_anchor = false;
  Client& bare = harness.submit(bare_request);
  Client& waiting = harness.submit(endless(25, 3));
  for (int i = 0; i < 12; ++i) harness.step();
  ASSERT_GT(running.outcome.events, 4);
  ASSERT_EQ(waiting.outcome.events, 0);
  const std::int64_t computed = harness.runner().tokens_computed();

  const RevocationOutcome outcome = harness.core().revoke(kDigest, RevocationPolicy::kEnd, {});
  EXPECT_TRUE(outcome.was_in_front);
  EXPECT_EQ(outcome.ended, 2);
  EXPECT_EQ(outcome.reanchored, 0);
  EXPECT_EQ(outcome.anchor_pages, 4);
  EXPECT_GT(outcome.prefix_pages, 0);
  EXPECT_EQ(outcome.scrub, "");
  EXPECT_EQ(harness.runner().tokens_computed(), computed);
  expect_rows_gone(harness);
  for (Client* client : {&running, &waiting}) {
    client->drain_events();
    ASSERT_TRUE(client->outcome.error);
    EXPECT_EQ(client->outcome.error->code, "anchor_revoked");
  }
  ASSERT_TRUE(harness.core().check_integrity());
  anchored_steps_ = 0;
  harness.run();
  EXPECT_EQ(anchored_steps_, 0);
  expect_as_oracle(bare);
  EXPECT_EQ(harness.core().stats().pages_used, 0);
  EXPECT_EQ(harness.core().stats().anchors_revoked, 1U);
  EXPECT_EQ(harness.core().stats().revocation_ended, 2U);
}

TEST_F(Revocation, NewRequestsAreRefusedAndSoIsOneThatWasOnItsWay) {
  Harness harness(anchored_options());
  const auto on_its_way = harness.core().prepare(endless(20, 1));
  ASSERT_TRUE(on_its_way);
  harness.core().revoke(kDigest, RevocationPolicy::kReanchor, {});
  const auto refused = harness.core().prepare(endless(20, 1));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "anchor_revoked");
  EXPECT_EQ(refused.error().kind, ErrorKind::kForbidden);
  Client client;
  client.job = *on_its_way;
  harness.core().enqueue(*on_its_way);
  client.drain_events();
  ASSERT_TRUE(client.outcome.error);
  EXPECT_EQ(client.outcome.error->code, "anchor_revoked");
  EXPECT_TRUE(harness.core().idle());
  EXPECT_EQ(harness.core().left_queue(), 1U);
  EXPECT_TRUE(harness.core().door().state().refusing);
}

TEST_F(Revocation, AnotherAnchorsDigestChangesNothingButIsRemembered) {
  Harness harness(anchored_options());
  Client& client = harness.submit(endless(20, 1));
  for (int i = 0; i < 5; ++i) harness.step();
  const auto outcome = harness.core().revoke("other", RevocationPolicy::kEnd, {});
  EXPECT_FALSE(outcome.was_in_front);
  harness.run();
  expect_as_oracle(client, identity(41));
  // The remembered digest may not come back as a replacement.
  Client& second = harness.submit(endless(20, 2));
  for (int i = 0; i < 5; ++i) harness.step();
  const auto replaced = harness.core().revoke(kDigest, RevocationPolicy::kReanchor,
                                              named_anchor(identity(20), "other"));
  EXPECT_EQ(replaced.not_replaced, "anchor_revoked");
  EXPECT_EQ(replaced.ended, 1);
  second.drain_events();
  EXPECT_EQ(second.outcome.error->code, "anchor_revoked");
  EXPECT_EQ(harness.core().stats().pages_used, 0);
}

TEST_F(Revocation, ReanchoredConversationsGoOnBehindNothing) {
  Harness harness(anchored_options());
  watch(harness);
  const GenerationRequest request = endless(20, 1);
  Client& client = harness.submit(request);
  Client& slow = harness.submit(endless(33, 2));
  slow.reads = false;
  while (client.job->usage.completion_tokens < 17) harness.step();
  const std::int32_t slow_at = slow.job->usage.completion_tokens;
  const auto outcome = harness.core().revoke(kDigest, RevocationPolicy::kReanchor, {});
  EXPECT_EQ(outcome.reanchored, 2);
  EXPECT_EQ(outcome.ended, 0);
  expect_rows_gone(harness);
  anchored_steps_ = 0;
  slow.reads = true;
  harness.run();
  EXPECT_EQ(anchored_steps_, 0);
  ASSERT_TRUE(client.outcome.usage);
  EXPECT_EQ(client.outcome.choices[0].text, expected_over_switch(request, identity(41), 17, {}));
  EXPECT_EQ(slow.outcome.choices[0].text,
            expected_over_switch(endless(33, 2), identity(41), slow_at, {}));
  EXPECT_EQ(client.outcome.usage->anchors, (std::vector<std::string>{kDigest, ""}));
  EXPECT_EQ(client.outcome.usage->anchor_tokens, 0);
  EXPECT_EQ(harness.core().stats().pages_used, 0);
  EXPECT_EQ(harness.core().stats().revocation_reanchored, 2U);
}

TEST_F(Revocation, ReanchoredConversationsGoOnBehindTheReplacement) {
  for (const std::int32_t length : {9, 70}) {
    Harness harness(anchored_options());
    watch(harness);
    const GenerationRequest request = endless(20, 1);
    Client& client = harness.submit(request);
    while (client.job->usage.completion_tokens < 17) harness.step();
    const auto outcome = harness.core().revoke(kDigest, RevocationPolicy::kReanchor,
                                               named_anchor(identity(length), "second"));
    EXPECT_EQ(outcome.replacement, "second");
    EXPECT_EQ(outcome.reanchored, 1);
    harness.run();
    ASSERT_TRUE(client.outcome.usage);
    EXPECT_EQ(client.outcome.choices[0].text,
              expected_over_switch(request, identity(41), 17, identity(length)));
    EXPECT_EQ(client.outcome.usage->anchors, (std::vector<std::string>{kDigest, "second"}));
    EXPECT_EQ(client.outcome.usage->anchor_tokens, length);
    Client& later = harness.submit(endless(20, 5));
    harness.run();
    expect_as_oracle(later, identity(length));
    ASSERT_TRUE(harness.core().check_integrity());
  }
}

TEST_F(Revocation, ABareContextBeginsAsTheModelWants) {
  EngineCoreSetup setup;
  auto runner = std::make_unique<FakeRunner>(128, 256);
  std::vector<FakeToken> seen;
  runner->after_logits = [&seen](std::span<const FakeToken> history, std::span<float>) {
    seen.assign(history.begin(), history.end());
  };
  setup.runner = std::move(runner);
  setup.decoder = std::make_shared<FakeDecoder>();
  setup.anchor = fake_anchor(identity(30));
  setup.bare_opening = {42};
  auto core = EngineCore::create(std::move(setup));
  ASSERT_TRUE(core);
  const auto job = (*core)->prepare(endless(10, 1));
  ASSERT_TRUE(job);
  (*core)->enqueue(*job);
  for (int i = 0; i < 5; ++i) (*core)->step();
  (*core)->revoke(kDigest, RevocationPolicy::kReanchor, {});
  (*core)->step();
  ASSERT_GT(seen.size(), 12U);
  EXPECT_EQ(seen[0].token, 42);
  EXPECT_EQ(seen[0].cls, KvClass::kSink);
  EXPECT_EQ(seen[1].token, (*job)->request.prompt[0].tokens[0]);
  EXPECT_EQ(seen[1].cls, KvClass::kUser);
}

TEST_F(Revocation, WhatDoesNotFitBehindTheReplacementEnds) {
  HarnessOptions options = anchored_options();
  options.engine.context_length = 150;
  Harness harness(options);
  Client& client = harness.submit(endless(60, 1, 30));
  for (int i = 0; i < 6; ++i) harness.step();
  const auto outcome = harness.core().revoke(kDigest, RevocationPolicy::kReanchor,
                                             named_anchor(identity(95), "long"));
  EXPECT_EQ(outcome.ended, 1);
  EXPECT_EQ(outcome.replacement, "long");
  client.drain_events();
  ASSERT_TRUE(client.outcome.error);
  EXPECT_EQ(client.outcome.error->code, "anchor_revoked");
}

TEST_F(Revocation, AReplacementThatDoesNotLoadEndsThem) {
  Harness harness(anchored_options());
  Client& client = harness.submit(endless(20, 1));
  for (int i = 0; i < 6; ++i) harness.step();
  const auto outcome = harness.core().revoke(
      kDigest, RevocationPolicy::kReanchor, [](BlockPool&, Runner&) -> Result<AnchorInFront> {
        return fail(ErrorKind::kCorrupt, "anchor_corrupt", "fake");
      });
  EXPECT_EQ(outcome.not_replaced, "anchor_corrupt");
  EXPECT_EQ(outcome.ended, 1);
  client.drain_events();
  EXPECT_EQ(client.outcome.error->code, "anchor_revoked");
  EXPECT_EQ(harness.core().stats().pages_used, 0);
  EXPECT_FALSE(harness.core().prepare(endless(20, 1)));
}

TEST_F(Revocation, CachedPrefixesOfEveryTenantGo) {
  Harness harness(anchored_options());
  GenerationRequest request = make_request(100, 1, 4);
  for (const char* salt : {"", "a", "b"}) {
    request.cache_salt = salt;
    harness.submit(request);
  }
  request.use_anchor = false;
  harness.submit(request);
  harness.run();
  const std::int32_t cached = harness.core().stats().pages_cached;
  const auto outcome = harness.core().revoke(kDigest, RevocationPolicy::kReanchor,
                                             named_anchor(identity(41), "same tokens, other name"));
  EXPECT_EQ(outcome.prefix_pages, 21);
  EXPECT_EQ(harness.core().stats().pages_cached, cached - 21);
  request.use_anchor = true;
  Client& again = harness.submit(request);
  request.use_anchor = false;
  Client& bare = harness.submit(request);
  harness.run();
  EXPECT_EQ(again.outcome.usage->cached_tokens, 0);
  EXPECT_EQ(bare.outcome.usage->cached_tokens, 97);
}

}  // namespace
}  // namespace fieldprint::testing
