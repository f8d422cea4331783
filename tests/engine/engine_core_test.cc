#include "engine/engine_core.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "codec/utf8.h"
#include "engine/harness.h"

namespace fieldprint::testing {
namespace {

TEST(EngineCore, OneRequestAnswersAsTheOracle) {
  Harness harness({});
  Client& client = harness.submit(make_request(40, 1, 50));
  harness.run();
  expect_as_oracle(client);
  EXPECT_EQ(client.outcome.usage->prompt_tokens, 40);
  EXPECT_EQ(client.outcome.usage->cached_tokens, 0);
  EXPECT_EQ(harness.core().stats().pages_used, 0);
}

TEST(EngineCore, ManyRequestsInOneBatchDoNotDisturbEachOther) {
  HarnessOptions options;
  options.pages = 1024;
  Harness harness(options);
  for (unsigned seed = 1; seed <= 16; ++seed) {
    harness.submit(make_request(static_cast<std::int32_t>(seed * 7), seed, 40));
  }
  harness.run();
  for (const auto& client : harness.clients()) expect_as_oracle(*client);
}

TEST(EngineCore, ChunkSizesDoNotChangeTheAnswer) {
  for (const std::int32_t chunk : {1, 5, 16, 100}) {
    HarnessOptions options;
    options.engine.prefill_chunk = chunk;
    options.engine.mixed_prefill_chunk = chunk;
    Harness harness(options);
    harness.submit(make_request(70, 1, 20));
    harness.submit(make_request(33, 2, 20));
    harness.run();
    for (const auto& client : harness.clients()) expect_as_oracle(*client);
  }
}

TEST(EngineCore, SpansOfSeveralClassesKeepTheirClassAndTheMassSaysSo) {
  Harness harness({});
  GenerationRequest request = make_request(20, 1, 1);
  request.prompt = {{{1, 2, 3, 4, 5}, KvClass::kSystem},
                    {{6, 7, 8, 9, 10}, KvClass::kMemory},
                    {{11, 12, 13, 14, 15}, KvClass::kTool},
                    {{16, 17, 18, 19, 20}, KvClass::kUser}};
  Client& client = harness.submit(request);
  harness.run();
  expect_as_oracle(client);
  const float* mass = client.outcome.usage->mass;
  EXPECT_FLOAT_EQ(mass[static_cast<int>(KvClass::kSink)], 1.0F / 20);
  EXPECT_FLOAT_EQ(mass[static_cast<int>(KvClass::kSystem)], 4.0F / 20);
  EXPECT_FLOAT_EQ(mass[static_cast<int>(KvClass::kMemory)], 5.0F / 20);
  EXPECT_FLOAT_EQ(mass[static_cast<int>(KvClass::kUser)], 5.0F / 20);
  EXPECT_NEAR(std::accumulate(mass, mass + kKvClasses, 0.0F), 1.0F, 1e-6F);
}

TEST(EngineCore, SeveralChoicesShareThePromptAndDiffer) {
  Harness harness({});
  GenerationRequest request = make_request(33, 3, 30);
  // As a chat template does: the answer continues a page of its own class.
  request.prompt.push_back({{1, 2, 3, 4, 5, 6, 7}, KvClass::kOutput});
  request.choices = 4;
  Client& client = harness.submit(request);
  harness.run();
  expect_as_oracle(client);
  EXPECT_NE(client.outcome.choices[0].text, client.outcome.choices[1].text);
  // The prompt was computed once; three of four copied its partly filled last page.
  EXPECT_LT(harness.runner().tokens_computed(), 40 + 4 * 30);
  EXPECT_EQ(harness.runner().copies(), 3);
}

TEST(EngineCore, AnAnchorStandsInFrontOfThePrompt) {
  HarnessOptions options;
  for (TokenId t = 0; t < 37; ++t) options.anchor.push_back(t);
  Harness harness(options);
  Client& with = harness.submit(make_request(25, 1, 30));
  GenerationRequest request = make_request(25, 1, 30);
  request.use_anchor = false;
  Client& without = harness.submit(request);
  harness.run();
  expect_as_oracle(with, options.anchor);
  expect_as_oracle(without);
  EXPECT_NE(with.outcome.choices[0].text, without.outcome.choices[0].text);
  EXPECT_EQ(with.outcome.usage->anchor_tokens, 37);
  EXPECT_EQ(without.outcome.usage->anchor_tokens, 0);
  EXPECT_GT(with.outcome.usage->mass[static_cast<int>(KvClass::kAnchor)], 0.4F);
  EXPECT_EQ(harness.core().stats().pages_used, 4);  // sink and three of anchor, pinned
}

TEST(EngineCore, StopStringsEndAChoiceAndTheirTextIsGone) {
  GenerationRequest request = make_request(30, 7, 60);
  request.ignore_eos = true;
  const std::string whole = expected_choice(request, 7, 0).text;
  std::size_t begin = 10;
  while (!utf8_valid(whole.substr(begin, 3))) ++begin;
  ASSERT_LT(begin + 3, whole.size());
  request.stop = {whole.substr(begin, 3)};
  Harness harness({});
  Client& client = harness.submit(request);
  harness.run();
  expect_as_oracle(client);
  EXPECT_EQ(client.outcome.choices[0].text, whole.substr(0, whole.find(request.stop[0])));
  EXPECT_EQ(client.outcome.choices[0].reason, FinishReason::kStop);
}

TEST(EngineCore, LogprobsArriveOncePerTokenOfText) {
  Harness harness({});
  GenerationRequest request = make_request(30, 7, 25);
  request.ignore_eos = true;
  request.sampling.logprobs = 2;
  Client& client = harness.submit(request);
  harness.run();
  const ChoiceResult& choice = client.outcome.choices[0];
  ASSERT_EQ(choice.logprobs.size(), 25U);
  for (const TokenLogprob& entry : choice.logprobs) {
    ASSERT_EQ(entry.top.size(), 2U);
    EXPECT_LE(entry.logprob, entry.top[0].second);
    EXPECT_GE(entry.top[0].second, entry.top[1].second);
    EXPECT_EQ(entry.bytes, FakeDecoder().label(entry.token));
  }
}

TEST(EngineCore, ASeedIsDrawnReportedAndReproduces) {
  Harness harness({});
  GenerationRequest request = make_request(30, 1, 30);
  request.sampling.seed.reset();
  Client& first = harness.submit(request);
  Client& second = harness.submit(request);
  harness.run();
  expect_as_oracle(first);
  EXPECT_NE(first.outcome.choices[0].seed, second.outcome.choices[0].seed);
  request.sampling.seed = first.outcome.choices[0].seed;
  Client& again = harness.submit(request);
  harness.run();
  EXPECT_EQ(again.outcome.choices[0].text, first.outcome.choices[0].text);
}

TEST(EngineCore, ThePromptMustLeaveRoomToAnswer) {
  HarnessOptions options;
  options.engine.context_length = 100;
  for (TokenId t = 0; t < 20; ++t) options.anchor.push_back(t);
  Harness harness(options);
  const auto refused = harness.core().prepare(make_request(80, 1, 10));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "context_length_exceeded");
  EXPECT_NE(refused.error().message.find("101"), std::string::npos) << refused.error().message;
  EXPECT_NE(refused.error().message.find("100"), std::string::npos);
  EXPECT_TRUE(harness.core().prepare(make_request(79, 1, 10)));
}

TEST(EngineCore, TheContextsEndFinishesWithLength) {
  HarnessOptions options;
  options.engine.context_length = 50;
  Harness harness(options);
  GenerationRequest request = make_request(40, 2, 500);
  request.ignore_eos = true;
  Client& client = harness.submit(request);
  request.max_tokens = -1;
  Client& open_ended = harness.submit(request);
  harness.run();
  for (Client* c : {&client, &open_ended}) {
    expect_as_oracle(*c, {}, 50);
    EXPECT_EQ(c->outcome.choices[0].reason, FinishReason::kLength);
    EXPECT_EQ(c->outcome.usage->completion_tokens, 10);
  }
}

TEST(EngineCore, CancelFreesPagesAtTheNextStep) {
  HarnessOptions options;
  options.engine.prefill_chunk = 16;
  options.engine.prefix_cache = false;
  Harness harness(options);
  GenerationRequest request = make_request(100, 1, 1000);
  request.ignore_eos = true;
  Client& prefilling = harness.submit(request);
  harness.step();
  ASSERT_GT(harness.core().stats().pages_used, 0);
  ASSERT_EQ(prefilling.outcome.events, 0);
  prefilling.job->events->cancel();
  harness.step();
  EXPECT_EQ(harness.core().stats().pages_used, 0);
  ASSERT_TRUE(prefilling.outcome.error);
  EXPECT_EQ(prefilling.outcome.error->code, "cancelled");

  Client& decoding = harness.submit(request);
  for (int i = 0; i < 20; ++i) harness.step();
  ASSERT_GT(decoding.outcome.choices[0].text.size(), 5U);
  decoding.job->events->cancel();
  harness.step();
  EXPECT_EQ(harness.core().stats().pages_used, 0);
  EXPECT_EQ(decoding.outcome.error->code, "cancelled");
  EXPECT_EQ(decoding.outcome.terminal_events, 1);
}

TEST(EngineCore, DeadlinesEndWaitingAndRunningRequests) {
  HarnessOptions options;
  options.engine.max_sequences = 1;
  Harness harness(options);
  GenerationRequest request = make_request(10, 1, 1000);
  request.ignore_eos = true;
  request.deadline = harness.now() + std::chrono::milliseconds(30);
  Client& running = harness.submit(request);
  request.deadline = harness.now() + std::chrono::milliseconds(10);
  Client& waiting = harness.submit(request);
  EXPECT_EQ(harness.step().wake_at, *request.deadline);
  for (int i = 0; i < 12; ++i) harness.step();
  ASSERT_TRUE(waiting.outcome.error);
  EXPECT_EQ(waiting.outcome.error->code, "deadline_exceeded");
  EXPECT_FALSE(running.outcome.ended());
  harness.run();
  EXPECT_EQ(running.outcome.error->code, "deadline_exceeded");
  EXPECT_FALSE(running.outcome.choices[0].text.empty());
  EXPECT_EQ(harness.core().stats().pages_used, 0);
}

TEST(EngineCore, ASlowConsumerPausesOnlyItself) {
  HarnessOptions options;
  options.engine.event_queue = 4;
  Harness harness(options);
  GenerationRequest request = make_request(10, 1, 60);
  request.ignore_eos = true;
  Client& slow = harness.submit(request);
  slow.reads = false;
  Client& fast = harness.submit(make_request(12, 2, 60));
  harness.run();  // ends: nothing runnable is left
  expect_as_oracle(fast);
  EXPECT_FALSE(harness.core().idle());
  slow.drain_events();
  EXPECT_GE(slow.outcome.events, 4);
  EXPECT_LE(slow.outcome.events, 4 + 2 + 1);
  slow.reads = true;
  harness.run();
  expect_as_oracle(slow);
}

TEST(EngineCore, SlowConsumersGiveTheirSlotsToOthers) {
  HarnessOptions options;
  options.engine.event_queue = 2;
  options.engine.max_sequences = 2;
  Harness harness(options);
  for (unsigned seed = 1; seed <= 2; ++seed) {
    harness.submit(make_request(10, seed, 40)).reads = false;
  }
  harness.run();
  Client& third = harness.submit(make_request(10, 3, 40));
  harness.run();
  expect_as_oracle(third);
  for (const auto& client : harness.clients()) client->reads = true;
  for (const auto& client : harness.clients()) client->drain_events();
  harness.run();
  for (const auto& client : harness.clients()) expect_as_oracle(*client);
}

TEST(EngineCore, ARunnerFailureFailsTheStepAndTheEngineGoesOn) {
  Harness harness({});
  int calls = 0;
  harness.runner().before_forward = [&](std::span<const SequenceStep>) -> Status {
    if (++calls == 5) return fail(ErrorKind::kInternal, "device_lost", "fake device");
    return {};
  };
  GenerationRequest request = make_request(10, 1, 30);
  request.ignore_eos = true;
  Client& victim = harness.submit(request);
  harness.run();
  ASSERT_TRUE(victim.outcome.error);
  EXPECT_EQ(victim.outcome.error->code, "device_lost");
  EXPECT_EQ(victim.outcome.terminal_events, 1);
  EXPECT_EQ(harness.core().stats().pages_used, 0);
  EXPECT_EQ(harness.core().stats().pages_cached, 0);
  Client& next = harness.submit(request);
  harness.run();
  expect_as_oracle(next);
}

TEST(EngineCore, NonFiniteLogitsFailOnlyTheirRequestAndEmptyTheCache) {
  Harness harness({});
  harness.runner().after_logits = [](std::span<const FakeToken> history, std::span<float> logits) {
    if (history.size() == 25 && history[1].token == 5) logits[3] = NAN;
  };
  GenerationRequest bad = make_request(20, 1, 30);
  bad.ignore_eos = true;
  bad.choices = 2;
  bad.prompt[0].tokens[1] = 5;
  GenerationRequest good = make_request(20, 2, 30);
  good.prompt[0].tokens[1] = 6;
  Client& poisoned = harness.submit(bad);
  Client& healthy = harness.submit(good);
  while (!poisoned.outcome.ended()) harness.step();
  EXPECT_EQ(poisoned.outcome.error->code, "logits_not_finite");
  EXPECT_EQ(harness.core().stats().pages_cached, 0);
  harness.run();
  expect_as_oracle(healthy);
  EXPECT_EQ(poisoned.outcome.terminal_events, 1);
}

TEST(EngineCore, OptionsAreChecked) {
  const auto code_of = [](void (*change)(EngineOptions&)) {
    EngineOptions options;
    change(options);
    EngineCoreSetup setup;
    setup.runner = std::make_unique<FakeRunner>(8, 64);
    setup.decoder = std::make_shared<FakeDecoder>();
    setup.options = options;
    const auto core = EngineCore::create(std::move(setup));
    return core ? std::string() : core.error().code;
  };
  EXPECT_EQ(code_of([](EngineOptions&) {}), "");
  EXPECT_EQ(code_of([](EngineOptions& o) { o.context_length = 129; }), "kv_exhausted");
  EXPECT_EQ(code_of([](EngineOptions& o) { o.context_length = 1; }), "invalid_options");
  EXPECT_EQ(code_of([](EngineOptions& o) { o.max_sequences = 65; }), "invalid_options");
  EXPECT_EQ(code_of([](EngineOptions& o) { o.max_queue = 0; }), "invalid_options");
  EXPECT_EQ(code_of([](EngineOptions& o) { o.prefill_chunk = 0; }), "invalid_options");
  EXPECT_EQ(code_of([](EngineOptions& o) { o.event_queue = 0; }), "invalid_options");
}

TEST(EngineCore, ShutdownEndsEveryRequestOnce) {
  std::vector<std::shared_ptr<EventChannel>> channels;
  {
    HarnessOptions options;
    options.engine.max_sequences = 1;
    Harness harness(options);
    channels.push_back(harness.submit(make_request(10, 1, 1000)).job->events);
    channels.push_back(harness.submit(make_request(10, 2, 1000)).job->events);
    harness.step();
  }
  for (const auto& channel : channels) {
    Outcome outcome;
    while (auto event = channel->pop(std::chrono::milliseconds(0))) outcome.add(*event);
    ASSERT_TRUE(outcome.error);
    EXPECT_EQ(outcome.error->code, "engine_stopped");
    EXPECT_EQ(outcome.terminal_events, 1);
  }
}

}  // namespace
}  // namespace fieldprint::testing
