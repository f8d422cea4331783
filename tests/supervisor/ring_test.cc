// The ring between the engine and a worker: nothing is lost unseen, the producer never waits.
#include "supervisor/ring.h"

#include <algorithm>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace fieldprint {
namespace {

constexpr std::size_t kFinal = 8;
constexpr std::size_t kLayer = 4;

// States whose numbers say which sequence and position they belong to.
struct Made {
  explicit Made(std::uint64_t sequence, std::uint64_t position)
      : final(kFinal, static_cast<float>(sequence * 100000 + position)),
        layer(kLayer, -static_cast<float>(sequence * 100000 + position)) {
    state.position = position;
    state.token = static_cast<std::int32_t>(position % 97);
    state.final = final;
    state.layer = layer;
  }
  std::vector<float> final;
  std::vector<float> layer;
  TapState state;
};

TEST(TapRingTest, KeepsOrderAndContents) {
  TapRing ring(3, kFinal, kLayer);
  TapSource source{.sequence = 7};
  EXPECT_EQ(ring.poll(), nullptr);
  for (std::uint64_t round = 0; round < 10; ++round) {
    EXPECT_EQ(ring.room(), 3U);
    for (std::uint64_t i = 0; i < 3; ++i) {
      Made made(7, round * 3 + i);
      if (i == 1) made.state.layer = {};
      EXPECT_EQ(ring.push(source, made.state), PushResult::kTaken);
    }
    EXPECT_EQ(ring.room(), 0U);
    for (std::uint64_t i = 0; i < 3; ++i) {
      const TapRecord* record = ring.poll();
      ASSERT_NE(record, nullptr);
      const Made made(7, round * 3 + i);
      EXPECT_EQ(record->kind, TapKind::kState);
      EXPECT_EQ(record->sequence, 7U);
      EXPECT_EQ(record->position, round * 3 + i);
      EXPECT_EQ(record->token, made.state.token);
      EXPECT_EQ(record->gap_before, 0U);
      EXPECT_TRUE(std::ranges::equal(record->final, made.final));
      EXPECT_EQ(record->layer.size(), i == 1 ? 0U : kLayer);
      EXPECT_TRUE(i == 1 || std::ranges::equal(record->layer, made.layer));
      ring.release();
    }
  }
}

TEST(TapRingTest, StrictIsToldToPauseAndLosesNothing) {
  TapRing ring(2, kFinal, kLayer);
  TapSource source{.sequence = 1, .policy = OverflowPolicy::kStrict};
  EXPECT_EQ(ring.push(source, Made(1, 0).state), PushResult::kTaken);
  EXPECT_EQ(ring.push(source, Made(1, 1).state), PushResult::kTaken);
  EXPECT_EQ(ring.push(source, Made(1, 2).state), PushResult::kPause);
  EXPECT_EQ(ring.push_end(source), PushResult::kPause);
  EXPECT_EQ(source.total_gap, 0U);
  ring.release();
  EXPECT_EQ(ring.push(source, Made(1, 2).state), PushResult::kTaken);
  ring.release();
  EXPECT_EQ(ring.push_end(source), PushResult::kTaken);
  ASSERT_NE(ring.poll(), nullptr);
  EXPECT_EQ(ring.poll()->position, 2U);
  EXPECT_EQ(ring.poll()->gap_before, 0U);
  ring.release();
  ASSERT_NE(ring.poll(), nullptr);
  EXPECT_EQ(ring.poll()->kind, TapKind::kEnd);
}

TEST(TapRingTest, OptimisticCountsTheGapOfEachSequence) {
  TapRing ring(2, kFinal, kLayer);
  TapSource a{.sequence = 1, .policy = OverflowPolicy::kOptimistic};
  TapSource b{.sequence = 2, .policy = OverflowPolicy::kOptimistic};
  EXPECT_EQ(ring.push(a, Made(1, 0).state), PushResult::kTaken);
  EXPECT_EQ(ring.push(b, Made(2, 0).state), PushResult::kTaken);
  EXPECT_EQ(ring.push(a, Made(1, 1).state), PushResult::kGap);
  EXPECT_EQ(ring.push(a, Made(1, 2).state), PushResult::kGap);
  EXPECT_EQ(ring.push(b, Made(2, 1).state), PushResult::kGap);
  ring.release();
  ring.release();
  EXPECT_EQ(ring.push(a, Made(1, 3).state), PushResult::kTaken);
  EXPECT_EQ(ring.push_end(b), PushResult::kTaken);
  EXPECT_EQ(ring.poll()->gap_before, 2U);
  ring.release();
  EXPECT_EQ(ring.poll()->kind, TapKind::kEnd);  // b's last states are missing, and it says so
  EXPECT_EQ(ring.poll()->gap_before, 1U);
  ring.release();
  EXPECT_EQ(ring.push(a, Made(1, 4).state), PushResult::kTaken);
  EXPECT_EQ(ring.poll()->gap_before, 0U);  // told once
  EXPECT_EQ(a.total_gap, 2U);
  EXPECT_EQ(b.total_gap, 1U);
}

TEST(TapRingTest, ARollbackMarkIsNeverLostAndKeepsItsPlace) {
  TapRing ring(2, kFinal, kLayer);
  TapSource source{.sequence = 4, .policy = OverflowPolicy::kOptimistic};
  EXPECT_EQ(ring.push(source, Made(4, 0).state), PushResult::kTaken);
  EXPECT_EQ(ring.push(source, Made(4, 1).state), PushResult::kTaken);
  EXPECT_EQ(ring.push(source, Made(4, 2).state), PushResult::kGap);
  const RollbackRecord mark{.from_token = 3, .to_token = 0, .change = RollbackChange::kRemind};
  EXPECT_EQ(ring.push_rollback(source, mark), PushResult::kPause);
  ring.release();
  EXPECT_EQ(ring.push_rollback(source, mark), PushResult::kTaken);
  EXPECT_EQ(source.total_gap, 1U);
  ring.release();
  ASSERT_NE(ring.poll(), nullptr);
  EXPECT_EQ(ring.poll()->kind, TapKind::kRollback);
  EXPECT_EQ(ring.poll()->gap_before, 1U);
  EXPECT_EQ(ring.poll()->rollback.from_token, 3U);
  EXPECT_EQ(ring.poll()->rollback.change, RollbackChange::kRemind);
  EXPECT_EQ(ring.pushed(), 3U);
  EXPECT_EQ(ring.released(), 2U);
}

TEST(TapRingTest, TheConsumerHearsThatRoomIsWanted) {
  TapRing ring(1, kFinal, kLayer);
  TapSource source{.sequence = 4, .policy = OverflowPolicy::kStrict};
  EXPECT_EQ(ring.push(source, Made(4, 0).state), PushResult::kTaken);
  EXPECT_FALSE(ring.room_awaited());
  EXPECT_EQ(ring.push(source, Made(4, 1).state), PushResult::kPause);
  EXPECT_TRUE(ring.room_awaited());
  EXPECT_FALSE(ring.room_awaited());  // told once
}

// Control records, pokes and close end a nap that a state does not; none may be slept through,
// whether it comes before the nap or in it.
TEST(TapRingTest, NapsEndForWhatMatters) {
  TapRing ring(64, kFinal, kLayer);
  TapSource source{.sequence = 4};
  constexpr std::chrono::microseconds kForever{0};
  ring.poke();
  ring.sleep(TapRing::Sleep::kUntilControl, kForever);  // came before
  EXPECT_EQ(ring.push(source, Made(4, 0).state), PushResult::kTaken);
  ring.sleep(TapRing::Sleep::kUntilControl, std::chrono::microseconds(1000));  // ends by its limit
  ring.sleep(TapRing::Sleep::kUntilAnyRecord, kForever);                       // there is one
  ring.release();
  for (int round = 0; round < 3; ++round) {
    std::thread producer([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      if (round == 0) ring.poke();
      if (round == 1) (void)ring.push_end(source);
      if (round == 2) ring.close();
    });
    ring.sleep(TapRing::Sleep::kUntilControl, kForever);
    producer.join();
  }
}

TEST(TapRingTest, CloseWakesAWaiterAfterTheLastRecord) {
  TapRing ring(4, kFinal, kLayer);
  TapSource source{.sequence = 3};
  std::vector<std::uint64_t> seen;
  std::thread worker([&] {
    while (const TapRecord* record = ring.wait()) {
      seen.push_back(record->position);
      ring.release();
    }
  });
  EXPECT_EQ(ring.push(source, Made(3, 11).state), PushResult::kTaken);
  EXPECT_EQ(ring.push(source, Made(3, 12).state), PushResult::kTaken);
  ring.close();
  ring.close();
  worker.join();
  EXPECT_EQ(seen, (std::vector<std::uint64_t>{11, 12}));
}

// A producer and a worker at full speed over a small ring, two policies mixed. Under optimistic
// every position is either seen or counted; under strict every one is seen.
TEST(TapRingTest, TwoThreadsNothingUnaccounted) {
  constexpr std::uint64_t kStates = 3000;
  TapRing ring(5, kFinal, kLayer);
  TapSource sources[2] = {{.sequence = 0, .policy = OverflowPolicy::kStrict},
                          {.sequence = 1, .policy = OverflowPolicy::kOptimistic}};
  std::uint64_t next[2] = {0, 0};  // position that must come next, gaps included
  std::uint64_t gaps[2] = {0, 0};
  std::uint64_t ends = 0;
  bool contents = true;
  std::thread worker([&] {
    while (const TapRecord* record = ring.wait()) {
      const auto s = static_cast<std::size_t>(record->sequence);
      next[s] += record->gap_before;
      gaps[s] += record->gap_before;
      if (record->kind == TapKind::kEnd) {
        ++ends;
      } else {
        contents = contents && record->position == next[s];
        const auto value = static_cast<float>(s * 100000 + record->position);
        for (const float x : record->final) contents = contents && x == value;
        for (const float x : record->layer) contents = contents && x == -value;
        ++next[s];
      }
      ring.release();
    }
  });
  for (std::uint64_t i = 0; i < kStates; ++i) {
    for (std::uint64_t s = 0; s < 2; ++s) {
      const Made made(s, i);
      while (ring.push(sources[s], made.state) == PushResult::kPause) std::this_thread::yield();
    }
  }
  for (TapSource& source : sources) {
    while (ring.push_end(source) == PushResult::kPause) std::this_thread::yield();
  }
  ring.close();
  worker.join();
  EXPECT_TRUE(contents);
  EXPECT_EQ(ends, 2U);
  EXPECT_EQ(next[0], kStates);
  EXPECT_EQ(next[1], kStates);
  EXPECT_EQ(gaps[0], 0U);
  EXPECT_EQ(gaps[1], sources[1].total_gap);
}

}  // namespace
}  // namespace fieldprint
