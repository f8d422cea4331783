// The supervisor's threads: nothing waits for a sink without room but what must, every token is
// seen or counted, sequences can be given up at any time.
#include "supervisor/supervisor.h"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "supervisor/supervision_fixture.h"

namespace fieldprint::test {
namespace {

constexpr std::chrono::seconds kPatience{60};

// A sink that can be closed, and remembers what it took.
class TestSink : public SegmentSink {
 public:
  Taken segment(const ChainBinding& binding, const Segment& segment,
                OverflowPolicy policy) override {
    const std::lock_guard lock(mutex_);
    if (!open_) return refusal(policy);
    segments_[binding.response_id].push_back(segment);
    return Taken::kTaken;
  }
  Taken breach(const SupervisedBreach& breach, OverflowPolicy policy) override {
    return note(breach.response_id, "breach", policy);
  }
  Taken rollback(const std::string& response_id, const RollbackRecord&,
                 OverflowPolicy policy) override {
    return note(response_id, "rollback", policy);
  }

  void set_open(bool open) {
    const std::lock_guard lock(mutex_);
    open_ = open;
  }
  std::vector<Segment> segments(const std::string& id) {
    const std::lock_guard lock(mutex_);
    return segments_[id];
  }
  std::vector<std::string> events(const std::string& id) {
    const std::lock_guard lock(mutex_);
    return events_[id];
  }

 private:
  static Taken refusal(OverflowPolicy policy) {
    return policy == OverflowPolicy::kStrict ? Taken::kLater : Taken::kLost;
  }
  Taken note(const std::string& id, const char* what, OverflowPolicy policy) {
    const std::lock_guard lock(mutex_);
    if (!open_) return refusal(policy);
    events_[id].emplace_back(what);
    return Taken::kTaken;
  }

  std::mutex mutex_;
  bool open_ = true;
  std::map<std::string, std::vector<Segment>> segments_;
  std::map<std::string, std::vector<std::string>> events_;
};

// Supervisor, sink and the engine's side of both.
class SupervisorTest : public ::testing::Test {
 protected:
  void make(SupervisorOptions options) {
    options.hidden = kTinyHidden;
    options.layer_states = true;
    supervisor_ = must(Supervisor::create(options, &sink_, [this] {
      const std::lock_guard lock(mutex_);
      woken_ = true;
      wake_.notify_one();
    }));
  }
  std::uint64_t open(const std::string& id, OverflowPolicy policy = OverflowPolicy::kOptimistic) {
    return must(supervisor_->open(tiny_start(id, policy)));
  }
  PushResult push(std::uint64_t sequence, std::uint64_t position, double angle = 0.1) {
    const auto final = gaussian_states(position + 1000 * sequence, kTinyHidden, 3);
    const auto layer = state_at(angle, position + 1);
    TapState state;
    state.position = position;
    state.token = static_cast<std::int32_t>(position);
    state.final = final;
    state.layer = layer;
    return supervisor_->push(sequence, state);
  }
  // Pushes all of them, waiting for room.
  void push_all(std::uint64_t sequence, std::uint64_t first, std::uint64_t end,
                double angle = 0.1) {
    for (std::uint64_t i = first; i < end; ++i) {
      while (supervisor_->room(sequence) == 0) std::this_thread::yield();
      ASSERT_EQ(push(sequence, i, angle), PushResult::kTaken);
    }
  }
  void end(std::uint64_t sequence) {
    while (supervisor_->push_end(sequence) == PushResult::kPause) std::this_thread::yield();
  }
  void roll_back(std::uint64_t sequence, std::uint64_t from, std::uint64_t to) {
    const RollbackRecord record{.from_token = from, .to_token = to};
    while (supervisor_->push_rollback(sequence, record) == PushResult::kPause) {
      std::this_thread::yield();
    }
  }
  void collect() {
    for (SupervisionVerdict& verdict : supervisor_->take_verdicts()) {
      verdicts_[verdict.sequence].push_back(std::move(verdict));
    }
  }
  // Sleeps until wake() says so, as an engine without work does.
  void wait_until(const std::function<bool()>& done) {
    const auto limit = std::chrono::steady_clock::now() + kPatience;
    for (;;) {
      collect();
      if (done()) return;
      std::unique_lock lock(mutex_);
      ASSERT_TRUE(wake_.wait_until(lock, limit, [this] { return woken_; })) << "not woken";
      woken_ = false;
    }
  }
  std::size_t verdicts(std::uint64_t sequence) { return verdicts_[sequence].size(); }
  std::shared_ptr<const SupervisionReport> report(std::uint64_t sequence, std::size_t ends = 1) {
    std::shared_ptr<const SupervisionReport> found;
    wait_until([&] {
      std::size_t seen = 0;
      for (const auto& verdict : verdicts_[sequence]) {
        if (verdict.kind != SupervisionVerdict::Kind::kEnd) continue;
        ++seen;
        found = verdict.report;
      }
      return seen == ends;
    });
    return found;
  }

  TestSink sink_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool woken_ = false;
  std::map<std::uint64_t, std::vector<SupervisionVerdict>> verdicts_;
  std::unique_ptr<Supervisor> supervisor_;  // last: its threads use the rest
};

TEST_F(SupervisorTest, RefusesImpossibleOptions) {
  for (const SupervisorOptions& options :
       {SupervisorOptions{.workers = 0, .hidden = 64},
        SupervisorOptions{.workers = 17, .hidden = 64},
        SupervisorOptions{.ring_slots = 0, .hidden = 64}, SupervisorOptions{.hidden = 8}}) {
    EXPECT_EQ(Supervisor::create(options, nullptr, [] {}).error().code, "invalid_options");
  }
  make({});
  SupervisionStart nameless = tiny_start("");
  EXPECT_EQ(supervisor_->open(nameless).error().code, "fingerprint_binding_invalid");
}

TEST_F(SupervisorTest, ASequenceFromItsBeginningToItsReport) {
  make({});
  const std::uint64_t sequence = open("resp_1");
  push_all(sequence, 0, 70);
  end(sequence);
  const auto result = report(sequence);
  ASSERT_NE(result, nullptr);
  EXPECT_EQ(result->state, SupervisionState::kComplete);
  EXPECT_EQ(result->gaps, 0U);
  EXPECT_EQ(result->unlogged, 0U);
  EXPECT_EQ(result->timeline.size(), 3U);
  EXPECT_EQ(result->segments.size(), 3U);
  EXPECT_TRUE(check_chain(result->binding, result->segments).has_value());
  ASSERT_EQ(verdicts(sequence), 4U);
  EXPECT_EQ(verdicts_[sequence][0].reading.end_token, 32U);
  EXPECT_EQ(verdicts_[sequence][2].reading.end_token, 70U);
  EXPECT_EQ(sink_.segments("resp_1").size(), 3U);
  const SupervisorMetrics metrics = supervisor_->metrics();
  EXPECT_EQ(metrics.tokens, 70U);
  EXPECT_EQ(metrics.segments, 3U);
  EXPECT_EQ(metrics.angles, 3U);
  EXPECT_EQ(metrics.breaches + metrics.gaps + metrics.unlogged + metrics.rollbacks, 0U);
  EXPECT_GT(metrics.lag_seconds, 0);
}

TEST_F(SupervisorTest, ABreachARollbackAndAGoodEnd) {
  make({});
  const std::uint64_t sequence = open("resp_1", OverflowPolicy::kStrict);
  push_all(sequence, 0, 64);
  push_all(sequence, 64, 96, 3.1);
  wait_until([&] { return verdicts(sequence) == 3; });
  EXPECT_EQ(verdicts_[sequence][2].reading.cause, BreachCause::kLimit);
  roll_back(sequence, 96, 64);
  push_all(sequence, 64, 80);
  end(sequence);
  const auto result = report(sequence);
  EXPECT_EQ(verdicts_[sequence].back().reading.generation, 1U);
  EXPECT_EQ(result->rollbacks.size(), 1U);
  EXPECT_EQ(sink_.events("resp_1"), (std::vector<std::string>{"breach", "rollback"}));
  EXPECT_TRUE(check_chain(result->binding, sink_.segments("resp_1")).has_value());
  EXPECT_EQ(supervisor_->metrics().breaches, 1U);
  EXPECT_EQ(supervisor_->metrics().rollbacks, 1U);
  // The report is out, and still the engine may go back.
  roll_back(sequence, 80, 16);
  push_all(sequence, 16, 32);
  end(sequence);
  EXPECT_EQ(report(sequence, 2)->rollbacks.size(), 2U);
}

TEST_F(SupervisorTest, AStalledSinkPausesOnlyStrictSequences) {
  make({.workers = 1, .ring_slots = 64});
  const std::uint64_t strict = open("strict", OverflowPolicy::kStrict);
  const std::uint64_t optimistic = open("optimistic");
  sink_.set_open(false);
  push_all(strict, 0, 32);
  push_all(optimistic, 0, 320);  // ten segments through the same worker
  end(optimistic);
  const auto result = report(optimistic);
  EXPECT_EQ(result->unlogged, 10U);  // stated
  EXPECT_EQ(result->gaps, 0U);
  EXPECT_EQ(verdicts(strict), 0U);  // withheld: its evidence has no place yet
  EXPECT_EQ(supervisor_->room(strict), 0U);
  EXPECT_EQ(push(strict, 32), PushResult::kPause);
  EXPECT_GT(supervisor_->room(optimistic), 0U);
  sink_.set_open(true);
  wait_until([&] { return verdicts(strict) == 1 && supervisor_->room(strict) > 0; });
  push_all(strict, 32, 64);
  end(strict);
  EXPECT_EQ(report(strict)->unlogged, 0U);
  EXPECT_EQ(sink_.segments("strict").size(), 2U);
  EXPECT_TRUE(sink_.segments("optimistic").empty());
}

// The sink holds the worker itself up, so the ring fills.
class SlowSink : public TestSink {
 public:
  Taken segment(const ChainBinding& binding, const Segment& segment,
                OverflowPolicy policy) override {
    const std::lock_guard lock(gate_);
    return TestSink::segment(binding, segment, policy);
  }
  std::mutex gate_;
};

TEST_F(SupervisorTest, GapsAreStatedAndAnEngineThatWaitsIsWoken) {
  SlowSink slow;
  SupervisorOptions options{.workers = 1, .ring_slots = 8, .hidden = kTinyHidden};
  options.layer_states = true;
  supervisor_ = must(Supervisor::create(options, &slow, [this] {
    const std::lock_guard lock(mutex_);
    woken_ = true;
    wake_.notify_one();
  }));
  const std::uint64_t blocker = open("blocker");
  const std::uint64_t optimistic = open("optimistic");
  const std::uint64_t strict = open("strict", OverflowPolicy::kStrict);
  std::uint64_t taken = 0;
  std::uint64_t lost = 0;
  {
    const std::lock_guard closed(slow.gate_);
    push_all(blocker, 0, 32);  // the worker now waits at the gate with its segment
    while (lost < 5) {
      const PushResult result = push(optimistic, taken + lost);
      ASSERT_NE(result, PushResult::kPause);
      ++(result == PushResult::kTaken ? taken : lost);
    }
    EXPECT_LE(taken, 8U);
    EXPECT_EQ(push(strict, 0), PushResult::kPause);
    EXPECT_EQ(supervisor_->push_end(blocker), PushResult::kPause);
  }
  wait_until([&] { return supervisor_->room(strict) > 0; });
  push_all(optimistic, taken + lost, taken + lost + 3);
  end(optimistic);
  const auto result = report(optimistic);
  EXPECT_EQ(result->gaps, lost);
  std::uint64_t stated = 0;
  for (const Segment& segment : result->segments) stated += segment.gap_before;
  EXPECT_EQ(stated, lost);
  EXPECT_EQ(supervisor_->metrics().gaps, lost);
  supervisor_.reset();  // before its sink
}

// No verdict is due that would wake the engine by the way.
TEST_F(SupervisorTest, AnEngineThatWaitsForRoomAloneIsWoken) {
  make({.workers = 1, .ring_slots = 8});
  const std::uint64_t sequence = open("resp_1", OverflowPolicy::kStrict);
  for (std::uint64_t position = 0; position < 31 && !HasFatalFailure();) {
    if (push(sequence, position) == PushResult::kTaken) {
      ++position;
    } else {
      wait_until([&] { return supervisor_->room(sequence) > 0; });
    }
  }
  EXPECT_EQ(verdicts(sequence), 0U);
}

TEST_F(SupervisorTest, GivenUpInEveryPhase) {
  make({.workers = 2, .ring_slots = 64});
  std::uint64_t after_stall = 0;
  for (int phase = 0; phase < 6; ++phase) {
    const std::string id = "phase_" + std::to_string(phase);
    const std::uint64_t sequence = open(id, OverflowPolicy::kStrict);
    if (phase >= 1) push_all(sequence, 0, 40);
    if (phase >= 2) end(sequence);
    if (phase == 3) roll_back(sequence, 40, 16);
    if (phase >= 4) report(sequence);
    if (phase == 5) {
      sink_.set_open(false);
      roll_back(sequence, 40, 0);  // stalls the sequence as soon as the worker reads it
      while (after_stall < 16 && push(sequence, after_stall) == PushResult::kTaken) ++after_stall;
    }
    supervisor_->abandon(sequence);
    supervisor_->abandon(sequence);
  }
  sink_.set_open(true);
  const std::uint64_t last = open("last");
  push_all(last, 0, 8);
  end(last);
  EXPECT_NE(report(last), nullptr);
  supervisor_->take_verdicts();
  supervisor_.reset();  // all that was pushed has gone to the sink
  EXPECT_TRUE(sink_.segments("phase_0").empty());
  for (const int phase : {1, 2, 3, 4, 5}) {
    const auto segments = sink_.segments("phase_" + std::to_string(phase));
    std::size_t records = 0;
    for (const Segment& segment : segments) records += segment.records.size();
    EXPECT_EQ(records, phase == 5 ? 40U + after_stall : 40U) << phase;
  }
  EXPECT_EQ(sink_.events("phase_5"), std::vector<std::string>{"rollback"});
}

// A ledger that stays away must not fill the memory with what given-up sequences owe it.
TEST_F(SupervisorTest, WhatGivenUpSequencesOweIsBounded) {
  make({.workers = 1, .ring_slots = 64});
  sink_.set_open(false);
  constexpr int kMany = 1100;
  for (int i = 0; i < kMany; ++i) {
    const std::uint64_t sequence = open("resp_" + std::to_string(i), OverflowPolicy::kStrict);
    push_all(sequence, 0, 1);
    supervisor_->abandon(sequence);
  }
  const std::uint64_t last = open("last");
  push_all(last, 0, 8);
  end(last);
  ASSERT_NE(report(last), nullptr);
  const auto limit = std::chrono::steady_clock::now() + kPatience;
  while (supervisor_->metrics().unlogged < kMany - 1024) {
    ASSERT_LT(std::chrono::steady_clock::now(), limit) << "nothing was given up";
    std::this_thread::yield();
  }
  supervisor_.reset();
  std::size_t logged = 0;
  for (int i = 0; i < kMany; ++i) logged += sink_.segments("resp_" + std::to_string(i)).size();
  EXPECT_EQ(logged, 0U);
}

TEST_F(SupervisorTest, AStrictSequencesDebtIsPaidWhenTheSinkIsBack) {
  make({.workers = 1, .ring_slots = 64});
  sink_.set_open(false);
  for (int i = 0; i < 20; ++i) {
    const std::uint64_t sequence = open("resp_" + std::to_string(i), OverflowPolicy::kStrict);
    push_all(sequence, 0, 1);
    supervisor_->abandon(sequence);
  }
  sink_.set_open(true);
  supervisor_.reset();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(sink_.segments("resp_" + std::to_string(i)).size(), 1U);
}

TEST_F(SupervisorTest, TheEndOfTheSupervisorKeepsWhatWasSeen) {
  make({});
  const std::uint64_t sequence = open("resp_1");
  push_all(sequence, 0, 50);
  supervisor_.reset();
  EXPECT_EQ(sink_.segments("resp_1").size(), 2U);
}

// Many sequences over several workers with rollbacks; every report is that of a lone sequence.
TEST_F(SupervisorTest, ManySequencesOnSeveralWorkers) {
  make({.workers = 3, .ring_slots = 32});
  constexpr std::uint64_t kSequences = 12;
  std::vector<std::uint64_t> ids;
  for (std::uint64_t s = 0; s < kSequences; ++s) ids.push_back(open("resp_" + std::to_string(s)));
  std::vector<std::size_t> rings;
  for (const std::uint64_t id : ids) rings.push_back(supervisor_->ring_of(id));
  for (std::size_t ring = 0; ring < 3; ++ring) EXPECT_EQ(std::ranges::count(rings, ring), 4);
  for (std::uint64_t i = 0; i < 100; ++i) {
    for (const std::uint64_t id : ids) push_all(id, i, i + 1);
  }
  for (std::uint64_t s = 0; s < kSequences; ++s) {
    roll_back(ids[s], 100, 16 * (s % 5));
    push_all(ids[s], 16 * (s % 5), 90);
    end(ids[s]);
  }
  for (std::uint64_t s = 0; s < kSequences; ++s) {
    const auto result = report(ids[s]);
    FingerprintChain chain = must(FingerprintChain::create(result->binding));
    EXPECT_TRUE(check_chain(result->binding, result->segments).has_value());
    EXPECT_EQ(result->segments.size(), sink_.segments("resp_" + std::to_string(s)).size());
    EXPECT_EQ(result->timeline.back().end_token, 90U);
    EXPECT_EQ(result->gaps, 0U);
    supervisor_->abandon(ids[s]);
  }
  EXPECT_EQ(supervisor_->metrics().tokens,
            kSequences * 190 - 16 * (0 + 1 + 2 + 3 + 4 + 0 + 1 + 2 + 3 + 4 + 0 + 1));
}

}  // namespace
}  // namespace fieldprint::test
