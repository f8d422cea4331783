#include "engine/threaded_engine.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "engine/harness.h"

namespace fieldprint::testing {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kLong{30000};  // ends a broken test; no assertion depends on it

// Holds the engine's thread inside forward() until opened.
class Gate {
 public:
  void open() {
    {
      const std::lock_guard lock(mutex_);
      open_ = true;
    }
    changed_.notify_all();
  }
  void pass() {
    std::unique_lock lock(mutex_);
    entered_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
  }
  void wait_entered() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return entered_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  bool entered_ = false;
};

std::unique_ptr<Engine> start(const EngineOptions& options, Gate* gate = nullptr) {
  auto runner = std::make_unique<FakeRunner>(512, 256);
  if (gate != nullptr) {
    runner->before_forward = [gate](std::span<const SequenceStep>) -> Status {
      gate->pass();
      return {};
    };
  }
  EngineCoreSetup setup;
  setup.runner = std::move(runner);
  setup.decoder = std::make_shared<FakeDecoder>();
  setup.options = options;
  auto engine = start_engine(std::move(setup));
  EXPECT_TRUE(engine.has_value());
  return std::move(*engine);
}

Outcome read_all(Generation& generation) {
  Outcome outcome;
  while (!outcome.ended()) {
    const auto event = generation.next(kLong);
    if (!event) {
      ADD_FAILURE() << "no event came";
      break;
    }
    outcome.add(*event);
  }
  return outcome;
}

GenerationRequest endless(unsigned seed) {
  GenerationRequest request = make_request(20, seed, -1);
  request.ignore_eos = true;
  return request;
}

TEST(ThreadedEngine, ManyClientsGetTheirOwnAnswers) {
  const auto engine = start({});
  std::vector<std::thread> threads;
  std::vector<Outcome> outcomes(24);
  for (unsigned i = 0; i < outcomes.size(); ++i) {
    threads.emplace_back([&, i] {
      auto generation = engine->submit(make_request(20 + static_cast<int>(i), i + 1, 30));
      ASSERT_TRUE(generation);
      outcomes[i] = read_all(**generation);
      (void)engine->stats();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (unsigned i = 0; i < outcomes.size(); ++i) {
    ASSERT_FALSE(outcomes[i].error);
    const auto request = make_request(20 + static_cast<int>(i), i + 1, 30);
    EXPECT_EQ(outcomes[i].choices[0].text, expected_choice(request, i + 1, 0).text);
  }
}

TEST(ThreadedEngine, AFullQueueSaysSo) {
  Gate gate;
  EngineOptions options;
  options.max_queue = 2;
  options.max_sequences = 1;
  const auto engine = start(options, &gate);
  auto running = engine->submit(make_request(10, 1, 5));
  ASSERT_TRUE(running);
  gate.wait_entered();  // it has left the queue
  auto second = engine->submit(make_request(10, 2, 5));
  auto third = engine->submit(make_request(10, 3, 5));
  ASSERT_TRUE(second && third);
  const auto refused = engine->submit(make_request(10, 4, 5));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "queue_full");
  EXPECT_EQ(refused.error().kind, ErrorKind::kUnavailable);
  gate.open();
  for (auto* generation : {&running, &second, &third}) {
    EXPECT_FALSE(read_all(***generation).error);
  }
  EXPECT_TRUE(engine->submit(make_request(10, 5, 5)));
}

TEST(ThreadedEngine, DestroyingTheHandleFreesItsPages) {
  const auto engine = start({});
  {
    auto generation = engine->submit(endless(1));
    ASSERT_TRUE(generation);
    ASSERT_TRUE((*generation)->next(kLong));
  }
  EXPECT_TRUE(engine->drain(kLong));
  EXPECT_EQ(engine->stats().pages_used, 0);
  EXPECT_EQ(engine->stats().running, 0);
}

TEST(ThreadedEngine, CancelEndsWithOneNamedEvent) {
  const auto engine = start({});
  auto generation = engine->submit(endless(1));
  ASSERT_TRUE(generation);
  ASSERT_TRUE((*generation)->next(kLong));
  (*generation)->cancel();
  const Outcome outcome = read_all(**generation);
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(outcome.error->code, "cancelled");
  EXPECT_FALSE((*generation)->next(milliseconds(0)));
}

TEST(ThreadedEngine, APausedRequestGoesOnWhenItsConsumerReads) {
  EngineOptions options;
  options.event_queue = 1;
  const auto engine = start(options);
  auto generation = engine->submit(make_request(20, 1, 40));
  ASSERT_TRUE(generation);
  EXPECT_EQ(read_all(**generation).choices[0].text,
            expected_choice(make_request(20, 1, 40), 1, 0).text);
}

TEST(ThreadedEngine, ADeadlineWakesAPausedEngine) {
  EngineOptions options;
  options.event_queue = 1;
  const auto engine = start(options);
  GenerationRequest request = endless(1);
  request.deadline = std::chrono::steady_clock::now() + milliseconds(30);
  auto generation = engine->submit(request);
  ASSERT_TRUE(generation);
  EXPECT_TRUE(engine->drain(kLong));  // nobody reads: only the deadline can end it
  EXPECT_EQ(read_all(**generation).error->code, "deadline_exceeded");
}

TEST(ThreadedEngine, DrainLetsWorkFinishAndRefusesNew) {
  Gate gate;
  const auto engine = start({}, &gate);
  auto generation = engine->submit(make_request(20, 1, 30));
  ASSERT_TRUE(generation);
  bool finished = false;
  std::thread drainer([&] { finished = engine->drain(kLong); });
  std::string refusal;
  while (refusal != "draining") {  // until drain() has closed the door
    const auto late = engine->submit(make_request(20, 2, 1));
    if (!late) refusal = late.error().code;
  }
  gate.open();
  const Outcome outcome = read_all(**generation);
  drainer.join();
  EXPECT_TRUE(finished);
  EXPECT_FALSE(outcome.error);
}

TEST(ThreadedEngine, DrainCancelsWhatIsLeftAtTheTimeout) {
  EngineOptions options;
  options.event_queue = 1;
  const auto engine = start(options);
  auto generation = engine->submit(endless(1));  // its consumer does not read: never ends
  ASSERT_TRUE(generation);
  EXPECT_FALSE(engine->drain(milliseconds(10)));
  EXPECT_EQ(read_all(**generation).error->code, "draining");
  EXPECT_EQ(engine->stats().pages_used, 0);
}

TEST(ThreadedEngine, AHandleMayOutliveItsEngine) {
  auto engine = start({});
  auto generation = engine->submit(endless(1));
  ASSERT_TRUE(generation);
  engine.reset();
  EXPECT_EQ(read_all(**generation).error->code, "engine_stopped");
  (*generation)->cancel();
}

TEST(ThreadedEngine, RevocationReturnsWhenTheEngineHasActed) {
  Gate gate;
  auto runner = std::make_unique<FakeRunner>(512, 256);
  runner->before_forward = [&gate](std::span<const SequenceStep>) -> Status {
    gate.pass();
    return {};
  };
  EngineCoreSetup setup;
  setup.runner = std::move(runner);
  setup.decoder = std::make_shared<FakeDecoder>();
  setup.anchor = fake_anchor({1, 2, 3, 4, 5});
  auto engine = start_engine(std::move(setup));
  ASSERT_TRUE(engine);
  auto generation = (*engine)->submit(endless(1));
  ASSERT_TRUE(generation);
  gate.wait_entered();
  Result<RevocationOutcome> outcome = fail(ErrorKind::kInternal, "none", "");
  RevokeAnchor command;
  command.digest = "fake-anchor";
  std::thread revoker([&] { outcome = (*engine)->revoke(command); });
  // Refused before the engine's thread has come out of its step.
  std::string refusal;
  while (refusal != "anchor_revoked") {
    const auto late = (*engine)->submit(make_request(20, 2, 1));
    if (!late) refusal = late.error().code;
  }
  gate.open();
  revoker.join();
  ASSERT_TRUE(outcome);
  EXPECT_TRUE(outcome->was_in_front);
  EXPECT_GE(outcome->ended, 1);
  EXPECT_EQ(read_all(**generation).error->code, "anchor_revoked");
  EXPECT_TRUE((*engine)->anchor_state().refusing);
  EXPECT_EQ((*engine)->anchor_state().revoked, std::vector<std::string>{"fake-anchor"});
  EXPECT_TRUE((*engine)->drain(kLong));
  EXPECT_EQ((*engine)->stats().pages_used, 0);
}

TEST(ThreadedEngine, BadRequestsAreRefusedBeforeTheQueue) {
  const auto engine = start({});
  GenerationRequest request = make_request(20, 1, 5);
  request.sampling.temperature = 3.0F;
  const auto refused = engine->submit(request);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "invalid_temperature");
}

}  // namespace
}  // namespace fieldprint::testing
