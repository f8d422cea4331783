// Supervised sequences in the engine, case by case: what is released when, what a silent or full
// supervisor holds up, and how a rollback ends.
#include <gtest/gtest.h>

#include "engine/supervision_oracle.h"

namespace fieldprint::testing {
namespace {

using std::chrono::milliseconds;

HarnessOptions supervised_options() {
  HarnessOptions options;
  options.supervised = true;
  options.anchor = {3, 9, 27, 21, 3, 9};
  options.engine.context_length = 600;
  return options;
}

GenerationRequest supervised(ReleaseMode release, std::int32_t max_tokens, unsigned seed = 7) {
  GenerationRequest request = make_request(20, seed, max_tokens);
  request.ignore_eos = true;
  request.supervision = SupervisionRequest{};
  request.supervision->release = release;
  return request;
}

void steps(Harness& harness, int count) {
  for (int i = 0; i < count; ++i) harness.step();
}

const ChoiceResult& only(const Client& client) { return client.outcome.choices.at(0); }

TEST(SupervisionTest, NothingIsSupervisedWithoutARecipe) {
  HarnessOptions options = supervised_options();
  options.supervised = false;
  Harness harness(options);
  const auto job = harness.core().prepare(supervised(ReleaseMode::kStrict, 4));
  ASSERT_FALSE(job);
  EXPECT_EQ(job.error().code, "supervision_unavailable");
}

TEST(SupervisionTest, StrictTextWaitsForItsSegment) {
  Harness harness(supervised_options());
  harness.supervisor().silent = true;
  Client& client = harness.submit(supervised(ReleaseMode::kStrict, 40));
  steps(harness, 200);
  EXPECT_EQ(client.outcome.events, 0);
  EXPECT_FALSE(client.outcome.ended());  // strict: however long it takes
  harness.supervisor().silent = false;
  steps(harness, 3);
  ASSERT_TRUE(client.outcome.ended());
  const auto expected =
      expected_supervised(client.job->request, 7, supervised_options().anchor, {});
  EXPECT_EQ(only(client).text, expected.text);
}

TEST(SupervisionTest, OptimisticTextDoesNotWaitAndASilentSupervisorIsToldOf) {
  HarnessOptions options = supervised_options();
  options.engine.supervision.end_timeout = milliseconds(50);
  Harness harness(options);
  harness.supervisor().silent = true;
  Client& client = harness.submit(supervised(ReleaseMode::kOptimistic, 40));
  steps(harness, 45);
  EXPECT_GT(client.outcome.events, 30);
  EXPECT_FALSE(client.outcome.ended());
  steps(harness, 60);
  ASSERT_TRUE(client.outcome.ended());
  ASSERT_NE(only(client).supervision, nullptr);
  EXPECT_EQ(only(client).supervision->state, SupervisionState::kIncomplete);
  EXPECT_TRUE(harness.supervisor().find("test-7/0")->abandoned);
}

TEST(SupervisionTest, AFullRingPausesStrictSequencesAlone) {
  Harness harness(supervised_options());
  harness.supervisor().room_left = 10;
  Client& strict = harness.submit(supervised(ReleaseMode::kStrict, 30, 7));
  Client& bare = harness.submit(make_request(20, 8, 30));
  steps(harness, 60);
  EXPECT_TRUE(bare.outcome.ended());
  EXPECT_FALSE(strict.outcome.ended());
  EXPECT_EQ(harness.supervisor().find("test-7/0")->tokens.size(), 10U);
  const StepOutcome outcome = harness.step();
  EXPECT_FALSE(outcome.worked);
  EXPECT_TRUE(outcome.wake_at.has_value());  // or nobody would try again
  harness.supervisor().room_left = SIZE_MAX;
  steps(harness, 60);
  ASSERT_TRUE(strict.outcome.ended());
  EXPECT_EQ(only(strict).supervision->gaps, 0U);
  EXPECT_EQ(harness.supervisor().find("test-7/0")->tokens.size(), 30U);
}

TEST(SupervisionTest, AFullRingLeavesGapsInOptimisticOnes) {
  Harness harness(supervised_options());
  harness.supervisor().room_left = 10;
  Client& client = harness.submit(supervised(ReleaseMode::kOptimistic, 30));
  steps(harness, 60);
  EXPECT_EQ(harness.supervisor().find("test-7/0")->gaps, 20U);
  harness.supervisor().room_left = SIZE_MAX;
  steps(harness, 5);
  ASSERT_TRUE(client.outcome.ended());
  EXPECT_EQ(only(client).supervision->gaps, 20U);
}

TEST(SupervisionTest, OffRecordsBreachesAndDoesNothing) {
  Harness harness(supervised_options());
  harness.supervisor().judge = [](const SeenSequence&, SegmentReading& reading) {
    reading.cause = BreachCause::kDetector;
  };
  Client& client = harness.submit(supervised(ReleaseMode::kOff, 70));
  steps(harness, 100);
  ASSERT_TRUE(client.outcome.ended());
  EXPECT_EQ(only(client).reason, FinishReason::kLength);
  EXPECT_TRUE(only(client).supervision->rollbacks.empty());
  EXPECT_EQ(only(client).supervision->timeline.size(), 3U);
}

// Every step of the ladder in its order, and the end of it.
TEST(SupervisionTest, ABreachThatComesBackEndsInContentFilter) {
  HarnessOptions options = supervised_options();
  options.engine.supervision.rollback.max_attempts = 4;
  Harness harness(options);
  harness.supervisor().judge = [](const SeenSequence&, SegmentReading& reading) {
    if (reading.end_token > 32) reading.cause = BreachCause::kLimit;
  };
  GenerationRequest request = supervised(ReleaseMode::kOptimistic, 100);
  request.prompt.push_back({{1, 2, 3}, KvClass::kTool});
  request.supervision->reminder = request.prompt;
  request.supervision->reminder.insert(request.supervision->reminder.begin(),
                                       {{5, 6, 7}, KvClass::kSystem});
  Client& client = harness.submit(request);
  steps(harness, 1000);
  ASSERT_TRUE(client.outcome.ended());
  const auto& rollbacks = only(client).supervision->rollbacks;
  std::vector<RollbackChange> changes;
  for (const RollbackRecord& record : rollbacks) changes.push_back(record.change);
  EXPECT_EQ(changes, (std::vector{RollbackChange::kStrongerAnchor, RollbackChange::kReseed,
                                  RollbackChange::kRemind, RollbackChange::kQuarantine,
                                  RollbackChange::kStop}));
  EXPECT_EQ(rollbacks[3].quarantined, KvClass::kTool);
  EXPECT_GT(rollbacks[0].mass[static_cast<std::size_t>(KvClass::kTool)], 0.0F);
  EXPECT_EQ(only(client).reason, FinishReason::kContentFilter);
  EXPECT_EQ(only(client).tokens.size(), rollbacks.back().to_token);
  EXPECT_EQ(client.outcome.usage->dropped_tokens, [&] {
    std::int32_t dropped = 0;
    for (const RollbackRecord& r : rollbacks)
      dropped += static_cast<std::int32_t>(r.from_token - r.to_token);
    return dropped;
  }());
  EXPECT_EQ(harness.core().stats().filtered, 1U);
  EXPECT_EQ(harness.core().stats().rollbacks, 4U);
}

TEST(SupervisionTest, AStrongerAnchorReachesThePlanAndStaysOutOfTheCache) {
  Harness harness(supervised_options());
  int breaches = 0;
  harness.supervisor().judge = [&](const SeenSequence&, SegmentReading& reading) {
    if (breaches++ == 0) reading.cause = BreachCause::kLimit;
  };
  int floored = 0;
  std::uint64_t cached_when_raised = 0;
  harness.runner().before_forward = [&](std::span<const SequenceStep> steps) -> Status {
    for (const SequenceStep& step : steps) {
      if (step.plan.anchor.mode != AnchorMode::kFloored) continue;
      if (floored++ == 0) {
        cached_when_raised = static_cast<std::uint64_t>(harness.core().stats().pages_cached);
      }
      EXPECT_EQ(step.plan.anchor.psi, RollbackSettings{}.psi);
    }
    return {};
  };
  Client& client = harness.submit(supervised(ReleaseMode::kStrict, 150));
  steps(harness, 400);
  ASSERT_TRUE(client.outcome.ended());
  EXPECT_GE(floored, 150);
  EXPECT_EQ(only(client).supervision->rollbacks.size(), 1U);
  EXPECT_LE(static_cast<std::uint64_t>(harness.core().stats().pages_cached),
            cached_when_raised + 4);
}

// Cached pages behind a rollback are found under the tokens that were kept, not under those that
// were dropped.
TEST(SupervisionTest, DroppedTokensNameNoPagesOfWhatCameAfter) {
  Harness harness(supervised_options());
  std::vector<TokenId> dropped;
  harness.supervisor().judge = [&](const SeenSequence& seen, SegmentReading& reading) {
    if (!dropped.empty()) return;
    for (const SeenToken& token : seen.tokens) dropped.push_back(token.token);
    reading.cause = BreachCause::kLimit;
  };
  GenerationRequest request = supervised(ReleaseMode::kOptimistic, 100);
  request.use_anchor = false;  // so that the first change is another seed: pages stay cached
  Client& client = harness.submit(request);
  steps(harness, 300);
  ASSERT_TRUE(client.outcome.ended());
  ASSERT_EQ(only(client).supervision->rollbacks.at(0).change, RollbackChange::kReseed);
  ASSERT_EQ(dropped.size(), 32U);
  const auto& kept = only(client).tokens;
  GenerationRequest next = make_request(20, 7, 10);
  TokenSpan mixed;
  mixed.cls = KvClass::kOutput;
  mixed.tokens.assign(dropped.begin(), dropped.begin() + 16);
  mixed.tokens.insert(mixed.tokens.end(), kept.begin() + 16, kept.begin() + 80);
  next.use_anchor = false;
  next.prompt.push_back(mixed);
  Client& second = harness.submit(next);
  steps(harness, 100);
  EXPECT_EQ(second.outcome.usage->cached_tokens, 20 + 16);
  expect_as_oracle(second, supervised_options().anchor, 600);
}

TEST(SupervisionTest, AClientThatLeavesInARollbackLeavesNothingBehind) {
  Harness harness(supervised_options());
  const std::int32_t pages = harness.core().stats().pages_used;
  harness.supervisor().judge = [](const SeenSequence&, SegmentReading& reading) {
    reading.cause = BreachCause::kLimit;
  };
  Client& client = harness.submit(supervised(ReleaseMode::kOptimistic, 100));
  steps(harness, 40);
  ASSERT_GE(harness.core().stats().rollbacks, 1U);
  harness.supervisor().room_left = 0;  // the mark cannot be delivered
  client.job->events->cancel();
  steps(harness, 2);
  EXPECT_EQ(client.outcome.error->code, "cancelled");
  EXPECT_TRUE(harness.supervisor().find("test-7/0")->abandoned);
  harness.core().clear_cache();
  EXPECT_EQ(harness.core().stats().pages_used, pages);
}

TEST(SupervisionTest, AnAnchorThatGoesTakesItsSupervisionWithIt) {
  Harness harness(supervised_options());
  Client& strict = harness.submit(supervised(ReleaseMode::kStrict, 100, 7));
  Client& optimistic = harness.submit(supervised(ReleaseMode::kOptimistic, 100, 8));
  steps(harness, 20);
  const RevocationOutcome outcome =
      harness.core().revoke("fake-anchor", RevocationPolicy::kReanchor, {});
  EXPECT_EQ(outcome.ended, 1);
  EXPECT_EQ(outcome.reanchored, 1);
  steps(harness, 200);
  EXPECT_EQ(strict.outcome.error->code, "anchor_revoked");
  ASSERT_TRUE(optimistic.outcome.ended());
  EXPECT_FALSE(optimistic.outcome.error);
  EXPECT_EQ(only(optimistic).supervision->state, SupervisionState::kIncomplete);
  EXPECT_TRUE(harness.supervisor().find("test-8/0")->abandoned);
}

TEST(SupervisionTest, AnOverrideIsFingerprintedAndNotMeasured) {
  Harness harness(supervised_options());
  GenerationRequest request = supervised(ReleaseMode::kOptimistic, 40);
  request.use_anchor = false;
  request.override_grant = OverrideGrant{"sha256:1"};
  Client& client = harness.submit(request);
  steps(harness, 80);
  ASSERT_TRUE(client.outcome.ended());
  const SeenSequence* seen = harness.supervisor().find("test-7/0");
  EXPECT_FALSE(seen->start.coherence);
  EXPECT_EQ(seen->start.binding.anchor_digest, Digest256{});
  EXPECT_EQ(seen->tokens.size(), 40U);
  EXPECT_TRUE(seen->tokens[0].layer.empty());
}

}  // namespace
}  // namespace fieldprint::testing
