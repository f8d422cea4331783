// Segments on their way into a ledger that is slow, full, down, or loses its power.
#include "supervisor/segment_log.h"

#include <algorithm>
#include <mutex>
#include <thread>

#include "ledger/ledger_fixture.h"
#include "store/fault_env.h"
#include "supervisor/segment_entry.h"
#include "supervisor/supervision_fixture.h"

namespace fieldprint::test {
namespace {

using Taken = SegmentSink::Taken;
using testing::kPatience;
using testing::test_keys;
using testing::why;

constexpr OverflowPolicy kStrict = OverflowPolicy::kStrict;
constexpr OverflowPolicy kOptimistic = OverflowPolicy::kOptimistic;

SegmentLogOptions quick_options() {
  SegmentLogOptions options;
  options.max_entries = 16;
  options.batch = 4;
  options.gather = std::chrono::milliseconds(1);
  options.retry = std::chrono::milliseconds(5);
  options.patience_at_end = std::chrono::milliseconds(0);
  return options;
}

class SegmentLogTest : public ::testing::Test {
 protected:
  SegmentLogTest() : env_(scratch_.path()) {
    const std::string dir = scratch_ / "ledger";
    const Status made = Ledger::create(dir, test_keys(), options());
    EXPECT_TRUE(made) << why(made);
    open();
  }
  LedgerOptions options() { return testing::test_options(env_); }
  void open() {
    auto opened = Ledger::open(scratch_ / "ledger", test_keys(), options());
    ASSERT_TRUE(opened) << why(opened);
    ledger_ = std::move(*opened);
  }
  // From now on nothing reaches the disk.
  void break_disk(Fault fault = Fault::kDiskFull) {
    env_.disk().fail_at(1, fault, FaultSpan::kFromThenOn);
  }
  // Leaves of a kind in the log, oldest first.
  std::vector<Entry> entries(EntryKind kind) {
    std::vector<Entry> found;
    const auto size = ledger_->durable_size();
    EXPECT_TRUE(size) << why(size);
    for (std::uint64_t i = 1; size && i < *size; ++i) {
      const auto entry = ledger_->read(i);
      EXPECT_TRUE(entry) << why(entry);
      if (entry && entry->kind == kind) found.push_back(*entry);
    }
    return found;
  }
  // A response's chain of `count` segments.
  static std::vector<Segment> chain(const ChainBinding& binding, int count) {
    auto made = must(FingerprintChain::create(binding));
    const Fingerprinter& fingerprinter = tiny_model()->fingerprinter();
    for (int t = 0; t < count * 32; ++t) {
      const auto state = gaussian_states(static_cast<std::uint64_t>(t), kTinyHidden, 3);
      made.add(t, must(fingerprinter.fingerprint(state)));
    }
    return made.take_complete();
  }
  static SupervisedBreach breach_of(const std::string& id) {
    SupervisedBreach breach;
    breach.response_id = id;
    breach.reading.end_token = 64;
    breach.reading.cause = BreachCause::kLimit;
    return breach;
  }

  testing::ScratchFolder scratch_;
  FaultEnv env_;
  std::unique_ptr<Ledger> ledger_;
};

TEST_F(SegmentLogTest, WhatWasTakenIsInTheLedgerInItsOrder) {
  const ChainBinding binding = tiny_start("resp_1/0").binding;
  const auto segments = chain(binding, 10);
  {
    SegmentLogOptions patient = quick_options();
    patient.patience_at_end = kPatience;
    SegmentLog log(*ledger_, patient);
    for (const Segment& segment : segments) {
      ASSERT_EQ(log.segment(binding, segment, kStrict), Taken::kTaken);
    }
    ASSERT_EQ(log.breach(breach_of("resp_1/0"), kStrict), Taken::kTaken);
    ASSERT_EQ(log.rollback("resp_1/0", RollbackRecord{}, kStrict), Taken::kTaken);
  }  // the destructor makes it durable
  const auto found = entries(EntryKind::kSegment);
  ASSERT_EQ(found.size(), segments.size());
  Digest256 head = chain_genesis(binding);
  for (std::size_t i = 0; i < found.size(); ++i) {
    const Segment read = must(read_segment_entry(found[i], binding, head));
    EXPECT_EQ(read.digest, segments[i].digest);
    EXPECT_GT(found[i].time_ms, 0);
    head = read.digest;
  }
  const auto breach = ledger_->find(EntryKind::kBreach, "resp_1/0");
  const auto rollback = ledger_->find(EntryKind::kRollback, "resp_1/0");
  ASSERT_TRUE(breach && *breach && rollback && *rollback);
  EXPECT_LT((*breach)->index, (*rollback)->index);
}

TEST_F(SegmentLogTest, AFullDiskDelaysStrictAndCountsOptimistic) {
  const ChainBinding strict = tiny_start("strict/0").binding;
  const ChainBinding optimistic = tiny_start("optimistic/0").binding;
  const Segment one = chain(strict, 1)[0];
  const Segment other = chain(optimistic, 1)[0];
  SegmentLog log(*ledger_, quick_options());
  break_disk();
  std::uint64_t taken = 0;
  while (log.segment(optimistic, other, kOptimistic) == Taken::kTaken) ++taken;
  EXPECT_EQ(taken, 14U);  // an eighth is not for them
  EXPECT_EQ(log.breach(breach_of("optimistic/0"), kOptimistic), Taken::kTaken);
  EXPECT_EQ(log.segment(strict, one, kStrict), Taken::kTaken);
  EXPECT_EQ(log.segment(strict, one, kStrict), Taken::kLater);
  EXPECT_EQ(log.breach(breach_of("optimistic/0"), kOptimistic), Taken::kLost);
  EXPECT_EQ(log.flush(std::chrono::milliseconds(30)).error().code, "ledger_timeout");
  SegmentLogMetrics metrics = log.metrics();
  EXPECT_EQ(metrics.taken, 16U);
  EXPECT_EQ(metrics.durable, 0U);
  EXPECT_EQ(metrics.queued, 16U);
  EXPECT_EQ(metrics.lost, 2U);
  EXPECT_EQ(metrics.delayed, 1U);
  env_.disk().heal();
  ASSERT_TRUE(log.flush(kPatience));
  EXPECT_EQ(log.segment(strict, one, kStrict), Taken::kTaken);
  ASSERT_TRUE(log.flush(kPatience));
  metrics = log.metrics();
  EXPECT_EQ(metrics.durable, 17U);
  EXPECT_EQ(metrics.queued, 0U);
  EXPECT_GT(metrics.failures, 0U);
  EXPECT_FALSE(metrics.failing);
  EXPECT_EQ(entries(EntryKind::kSegment).size(), 16U);  // each once, though tried many times
  EXPECT_EQ(entries(EntryKind::kBreach).size(), 1U);
}

TEST_F(SegmentLogTest, AnOverloadedLedgerIsAskedAgain) {
  ledger_.reset();
  LedgerOptions small = options();
  small.max_queued_entries = 4;
  auto opened = Ledger::open(scratch_ / "ledger", test_keys(), small);
  ASSERT_TRUE(opened) << why(opened);
  ledger_ = std::move(*opened);
  const ChainBinding binding = tiny_start("resp_1/0").binding;
  const Segment one = chain(binding, 1)[0];
  SegmentLog log(*ledger_, quick_options());
  for (int i = 0; i < 40; ++i) {
    (void)ledger_->append(testing::receipt_entry(static_cast<std::uint64_t>(i)));
    while (log.segment(binding, one, kStrict) != Taken::kTaken) std::this_thread::yield();
  }
  ASSERT_TRUE(log.flush(kPatience));
  EXPECT_EQ(entries(EntryKind::kSegment).size(), 40U);
}

TEST_F(SegmentLogTest, WhatNoEntryCanHoldIsLostAloneAndCounted) {
  ChainBinding binding = tiny_start("resp 1").binding;  // a space
  const Segment one = chain(binding, 1)[0];
  SegmentLog log(*ledger_, quick_options());
  EXPECT_EQ(log.segment(binding, one, kStrict), Taken::kLost);
  binding.response_id = "resp_1";
  EXPECT_EQ(log.segment(binding, one, kStrict), Taken::kTaken);
  ASSERT_TRUE(log.flush(kPatience));
  EXPECT_EQ(log.metrics().lost, 1U);
}

// The power goes off after a breach and before the rollback that answers it.
TEST_F(SegmentLogTest, ACrashBetweenBreachAndRollbackKeepsTheBreach) {
  {
    SegmentLog log(*ledger_, quick_options());
    ASSERT_EQ(log.breach(breach_of("resp_1/0"), kStrict), Taken::kTaken);
    ASSERT_TRUE(log.flush(kPatience));
    break_disk(Fault::kIoError);
    ASSERT_EQ(log.rollback("resp_1/0", RollbackRecord{}, kStrict), Taken::kTaken);
  }
  ledger_.reset();
  env_.disk().lose_power(Survival::kSyncedOnly, 1);
  env_.disk().heal();
  open();
  EXPECT_EQ(entries(EntryKind::kBreach).size(), 1U);
  EXPECT_TRUE(entries(EntryKind::kRollback).empty());
  // The response is gone with the process; the log goes on.
  SegmentLog log(*ledger_, quick_options());
  ASSERT_EQ(log.breach(breach_of("resp_2/0"), kStrict), Taken::kTaken);
  ASSERT_TRUE(log.flush(kPatience));
  EXPECT_EQ(entries(EntryKind::kBreach).size(), 2U);
}

// Workers, log and ledger together, with a disk that comes and goes.
TEST_F(SegmentLogTest, SupervisedResponsesThroughABadDisk) {
  constexpr std::uint64_t kSequences = 6;
  SegmentLogOptions patient = quick_options();
  patient.patience_at_end = kPatience;
  std::map<std::string, std::uint64_t> unlogged;
  {
    SegmentLog log(*ledger_, patient);
    auto supervisor = must(Supervisor::create(
        {.workers = 2, .ring_slots = 64, .hidden = kTinyHidden, .layer_states = true}, &log,
        [] {}));
    std::vector<std::uint64_t> ids;
    for (std::uint64_t s = 0; s < kSequences; ++s) {
      ids.push_back(must(supervisor->open(
          tiny_start("resp_" + std::to_string(s), s % 2 == 0 ? kStrict : kOptimistic))));
    }
    for (std::uint64_t i = 0; i < 200; ++i) {
      if (i == 40) break_disk();
      if (i == 150) env_.disk().heal();
      for (std::uint64_t s = 0; s < kSequences; ++s) {
        const auto final = gaussian_states(i, kTinyHidden, 3);
        const auto layer = state_at(0.1, i);
        TapState state{.position = i, .token = 1, .final = final, .layer = layer};
        // A strict sequence would be paused; the test heals the disk for it.
        while (supervisor->push(ids[s], state) == PushResult::kPause) env_.disk().heal();
      }
    }
    std::size_t ended = 0;
    for (const std::uint64_t id : ids) {
      while (supervisor->push_end(id) == PushResult::kPause) std::this_thread::yield();
    }
    while (ended < kSequences) {
      for (const SupervisionVerdict& verdict : supervisor->take_verdicts()) {
        if (verdict.kind != SupervisionVerdict::Kind::kEnd) continue;
        ++ended;
        unlogged[verdict.report->binding.response_id] =
            verdict.report->unlogged + verdict.report->gaps;
      }
      std::this_thread::yield();
    }
    supervisor.reset();
  }
  std::map<std::string, std::size_t> logged;
  for (const Entry& entry : entries(EntryKind::kSegment)) ++logged[entry.subject];
  for (std::uint64_t s = 0; s < kSequences; ++s) {
    const std::string id = "resp_" + std::to_string(s);
    if (s % 2 == 0) {
      EXPECT_EQ(unlogged[id], 0U);
    }
    // Seven segments of 200 tokens; what is not there is stated in the report.
    if (unlogged[id] == 0) {
      EXPECT_EQ(logged[id], 7U) << id;
    }
  }
}

}  // namespace
}  // namespace fieldprint::test
