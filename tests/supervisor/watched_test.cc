// What a worker knows of one sequence: after rollbacks it is what it would be without the dropped
// tokens, and every token is accounted for.
#include "supervisor/watched.h"

#include <cstring>
#include <limits>

#include "supervisor/supervision_fixture.h"
// gtest (in the fixture) before rapidcheck.
#include <rapidcheck/gtest.h>

namespace fieldprint::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

WatchedSequence watch(SupervisionStart start) {
  FingerprintChain chain = must(FingerprintChain::create(start.binding));
  return {std::move(start), std::move(chain)};
}

// One token of a response as the tests make them.
struct Event {
  enum class Kind : std::uint8_t { kSeen, kMissing, kInvalid };
  Kind kind = Kind::kSeen;
  double angle = 0;
  std::uint64_t seed = 0;
};

void feed(WatchedSequence& sequence, const Event& event) {
  const auto token = static_cast<std::int32_t>(event.seed % 1000);
  std::vector<float> final = gaussian_states(event.seed, kTinyHidden, 3);
  switch (event.kind) {
    case Event::Kind::kMissing:
      sequence.gap(1);
      return;
    case Event::Kind::kInvalid:
      final[5] = kNan;
      break;
    case Event::Kind::kSeen:
      break;
  }
  sequence.state(token, final, state_at(event.angle, event.seed + 1));
}

template <typename T>
std::vector<T> all(const std::vector<Outgoing>& outgoing) {
  std::vector<T> found;
  for (const Outgoing& out : outgoing) {
    if (const T* one = std::get_if<T>(&out)) found.push_back(*one);
  }
  return found;
}

std::vector<Outgoing> run(WatchedSequence& sequence, double angle, int tokens, std::uint64_t seed) {
  for (int i = 0; i < tokens; ++i) {
    feed(sequence, {Event::Kind::kSeen, angle, seed + static_cast<std::uint64_t>(i)});
  }
  return sequence.take_outgoing();
}

bool same_bytes(const auto& a, const auto& b) { return std::memcmp(&a, &b, sizeof a) == 0; }

// Pooled state and detector, bit for bit.
bool same_condition(const WatchedSequence& a, const WatchedSequence& b) {
  return same_bytes(a.pooled().sum, b.pooled().sum) && a.pooled().tokens == b.pooled().tokens &&
         a.pooled().broken == b.pooled().broken &&
         same_bytes(a.detector().sums, b.detector().sums) &&
         same_bytes(a.detector().products, b.detector().products) &&
         same_bytes(a.detector().runs, b.detector().runs) &&
         a.detector().run_starts == b.detector().run_starts &&
         a.detector().segments == b.detector().segments &&
         a.detector().session_alarm == b.detector().session_alarm;
}

bool same_reading(const SegmentReading& a, const SegmentReading& b) {
  return a.first_token == b.first_token && a.end_token == b.end_token && a.measured == b.measured &&
         same_bytes(a.angle, b.angle) && same_bytes(a.score, b.score) &&
         same_bytes(a.evidence, b.evidence) && a.cause == b.cause &&
         a.change_token == b.change_token && a.direction == b.direction;
}

TEST(SupervisionModelTest, ARecipeOfAnotherModelIsRefused) {
  const auto code = [](const SupervisionRecipe& recipe, std::int32_t hidden, std::int32_t layers) {
    const auto model = SupervisionModel::create(recipe, hidden, layers);
    return model ? std::string() : model.error().code;
  };
  EXPECT_EQ(code(tiny_recipe(), kTinyHidden, 3), "");
  EXPECT_EQ(code(tiny_recipe(), kTinyHidden, 2), "supervision_model_mismatch");  // no layer 2
  EXPECT_EQ(code(tiny_recipe(), 2 * kTinyHidden, 3), "supervision_model_mismatch");
  SupervisionRecipe half = tiny_recipe();
  half.judge.reset();
  EXPECT_EQ(code(half, kTinyHidden, 3), "supervision_recipe_invalid");
  SupervisionRecipe plain = tiny_recipe();
  plain.judge.reset();
  plain.coherence.reset();
  const auto model = must(SupervisionModel::create(plain, kTinyHidden, 1));
  EXPECT_EQ(model->coherence(), nullptr);
  EXPECT_EQ(model->digest(), sha256(print_supervision_recipe(plain)));
  plain.fingerprint.matrix_digest[0] ^= 1;
  EXPECT_EQ(code(plain, kTinyHidden, 1), "fingerprint_matrix_mismatch");
}

TEST(WatchedSequenceTest, HealthyTokensPassAndADriftIsABreach) {
  WatchedSequence sequence = watch(tiny_start("resp"));
  for (const auto& done : all<SegmentDone>(run(sequence, 0.1, 96, 1))) {
    EXPECT_TRUE(done.reading.measured);
    EXPECT_EQ(done.reading.cause, BreachCause::kNone);
    EXPECT_LT(done.reading.angle, 0.5);
    EXPECT_EQ(done.reading.direction.size(), 16U);
  }
  const auto outgoing = run(sequence, 1.6, 320, 1000);
  const auto breaches = all<SupervisedBreach>(outgoing);
  ASSERT_FALSE(breaches.empty());
  EXPECT_EQ(breaches[0].reading.cause, BreachCause::kDetector);
  EXPECT_EQ(breaches[0].reading.change_token, 96U);
  EXPECT_GE(breaches[0].reading.evidence, 100);
  EXPECT_EQ(breaches[0].response_id, "resp");
  // Nobody rolled back, and it goes on: the next alarm is of what came after the first.
  ASSERT_GE(breaches.size(), 2U);
  EXPECT_EQ(breaches[1].reading.change_token, breaches[0].reading.end_token);
}

TEST(WatchedSequenceTest, OneSegmentFarAwayIsABreachByItself) {
  WatchedSequence sequence = watch(tiny_start("resp"));
  const auto breaches = all<SupervisedBreach>(run(sequence, 3.0, 32, 1));
  ASSERT_EQ(breaches.size(), 1U);
  EXPECT_EQ(breaches[0].reading.cause, BreachCause::kLimit);
  EXPECT_EQ(breaches[0].reading.change_token, 0U);
}

TEST(WatchedSequenceTest, WithoutCoherenceThereAreFingerprintsOnly) {
  SupervisionStart start = tiny_start("resp");
  start.coherence = false;
  WatchedSequence sequence = watch(std::move(start));
  const auto outgoing = run(sequence, 3.0, 64, 1);
  EXPECT_EQ(all<Segment>(outgoing).size(), 2U);
  for (const auto& done : all<SegmentDone>(outgoing)) EXPECT_FALSE(done.reading.measured);
  EXPECT_TRUE(all<SupervisedBreach>(outgoing).empty());
  EXPECT_FALSE(sequence.report()->coherence);
}

TEST(WatchedSequenceTest, AStateWithoutFingerprintIsABreachAtItsPlace) {
  WatchedSequence sequence = watch(tiny_start("resp"));
  (void)run(sequence, 0.1, 40, 1);
  feed(sequence, {Event::Kind::kInvalid, 0.1, 77});
  const auto outgoing = run(sequence, 0.1, 23, 100);
  const auto breaches = all<SupervisedBreach>(outgoing);
  ASSERT_EQ(breaches.size(), 1U);
  EXPECT_EQ(breaches[0].reading.cause, BreachCause::kStateInvalid);
  EXPECT_EQ(breaches[0].reading.change_token, 40U);
  EXPECT_EQ(sequence.report()->gaps, 1U);
  // Kept by a rollback behind it, it is still there when its segment is judged again.
  sequence.rollback({.from_token = 64, .to_token = 48});
  EXPECT_EQ(all<SupervisedBreach>(run(sequence, 0.1, 16, 200)).size(), 1U);
  sequence.rollback({.from_token = 64, .to_token = 32});
  EXPECT_TRUE(all<SupervisedBreach>(run(sequence, 0.1, 32, 300)).empty());
}

TEST(WatchedSequenceTest, AnAngleThatIsNoneIsABreach) {
  WatchedSequence sequence = watch(tiny_start("resp"));
  (void)run(sequence, 0.1, 20, 1);
  std::vector<float> layer = state_at(0.1, 5);
  layer[3] = kNan;
  sequence.state(1, gaussian_states(9, kTinyHidden, 3), layer);
  const auto breaches = all<SupervisedBreach>(run(sequence, 0.1, 11, 50));
  ASSERT_EQ(breaches.size(), 1U);
  EXPECT_EQ(breaches[0].reading.cause, BreachCause::kNoDirection);
  EXPECT_FALSE(breaches[0].reading.measured);
  EXPECT_EQ(breaches[0].reading.score, 1);
}

TEST(WatchedSequenceTest, NothingNewIsNoEvidence) {
  WatchedSequence sequence = watch(tiny_start("resp"));
  (void)run(sequence, 1.2, 32, 1);
  const DetectorState before = sequence.detector();
  sequence.gap(64);
  for (const auto& done : all<SegmentDone>(sequence.take_outgoing())) {
    EXPECT_FALSE(done.reading.measured);
  }
  EXPECT_EQ(before.segments, sequence.detector().segments);
}

TEST(WatchedSequenceTest, TheSessionsEvidenceGoesOn) {
  WatchedSequence first = watch(tiny_start("resp_1"));
  (void)run(first, 1.3, 64, 1);
  first.end();
  SupervisionStart start = tiny_start("resp_2");
  start.detector = first.report()->detector;
  ASSERT_EQ(start.detector.segments, 2U);
  WatchedSequence second = watch(std::move(start));
  const auto breaches = all<SupervisedBreach>(run(second, 1.3, 160, 500));
  ASSERT_FALSE(breaches.empty());
  EXPECT_EQ(breaches[0].reading.change_token, 0U);  // it began before this response
}

TEST(WatchedSequenceTest, TheEndIsJudgedAndMayBeTakenBack) {
  WatchedSequence sequence = watch(tiny_start("resp"));
  (void)run(sequence, 0.1, 40, 1);
  sequence.end();
  const auto outgoing = sequence.take_outgoing();
  const auto done = all<SegmentDone>(outgoing);
  ASSERT_EQ(done.size(), 1U);
  EXPECT_EQ(done[0].reading.first_token, 32U);
  EXPECT_EQ(done[0].reading.end_token, 40U);
  ASSERT_TRUE(std::holds_alternative<EndReached>(outgoing.back()));
  EXPECT_EQ(std::get<EndReached>(outgoing.back()).end_token, 40U);
  sequence.rollback({.from_token = 40, .to_token = 16});
  (void)run(sequence, 0.1, 48, 100);
  sequence.end();
  const auto report = sequence.report();
  EXPECT_EQ(report->rollbacks.size(), 1U);
  EXPECT_TRUE(check_chain(report->binding, report->segments).has_value());
  EXPECT_EQ(report->chain_head, report->segments.back().digest);
  EXPECT_EQ(report->timeline.back().generation, 1U);
}

TEST(WatchedSequenceTest, AStopInTheMiddleOfABlockEnds) {
  WatchedSequence sequence = watch(tiny_start("resp"));
  (void)run(sequence, 0.1, 50, 1);
  sequence.rollback({.from_token = 50, .to_token = 41, .change = RollbackChange::kStop});
  sequence.end();
  EXPECT_TRUE(all<SegmentDone>(sequence.take_outgoing()).empty());
  EXPECT_EQ(sequence.next_token(), 41U);
}

// Random tokens, missing ones, invalid ones, ends and rollbacks. The kept tokens fed to a fresh
// sequence must give the same condition and the same last readings.
RC_GTEST_PROP(WatchedSequenceProperty, RollbackForgetsWhatWasDropped, ()) {
  WatchedSequence sequence = watch(tiny_start("resp"));
  std::vector<Event> kept;
  std::uint64_t seen = 0;
  const auto rounds = *rc::gen::inRange(1, 8);
  std::uint64_t seed = 1;
  for (int round = 0; round < rounds; ++round) {
    const auto tokens = *rc::gen::inRange(0, 90);
    const double angle = *rc::gen::element(0.1, 0.9, 1.4, 3.0);
    for (int i = 0; i < tokens; ++i) {
      Event event{Event::Kind::kSeen, angle, seed++};
      const auto dice = *rc::gen::inRange(0, 60);
      if (dice == 0) event.kind = Event::Kind::kInvalid;
      if (dice == 1) event.kind = Event::Kind::kMissing;
      if (event.kind == Event::Kind::kSeen) ++seen;
      feed(sequence, event);
      kept.push_back(event);
    }
    if (*rc::gen::inRange(0, 2) == 0) sequence.end();
    const std::uint64_t to =
        *rc::gen::inRange<std::uint64_t>(0, kept.size() / kCheckpointTokens + 1) *
        kCheckpointTokens;
    sequence.rollback({.from_token = kept.size(), .to_token = to});
    kept.resize(to);
  }
  const auto more = *rc::gen::inRange(0, 70);
  WatchedSequence fresh = watch(tiny_start("resp"));
  for (const Event& event : kept) feed(fresh, event);
  RC_ASSERT(same_condition(sequence, fresh));
  (void)sequence.take_outgoing();
  const std::size_t old_readings = fresh.report()->timeline.size();
  for (int i = 0; i < more; ++i) {
    const Event event{Event::Kind::kSeen, 0.9, seed++};
    ++seen;
    feed(sequence, event);
    feed(fresh, event);
  }
  sequence.end();
  fresh.end();
  RC_ASSERT(same_condition(sequence, fresh));
  const auto last = all<SegmentDone>(sequence.take_outgoing());
  const auto report = sequence.report();
  const auto expected = fresh.report()->timeline;
  RC_ASSERT(expected.size() - old_readings == last.size());
  for (std::size_t i = 0; i < last.size(); ++i) {
    RC_ASSERT(same_reading(last[i].reading, expected[old_readings + i]));
    RC_ASSERT(last[i].reading.generation == static_cast<std::uint32_t>(rounds));
  }
  // The chain forgets nothing: every state that was seen has its record in it.
  RC_ASSERT(check_chain(report->binding, report->segments).has_value());
  std::uint64_t records = 0;
  for (const Segment& segment : report->segments) records += segment.records.size();
  RC_ASSERT(records == seen);
}

}  // namespace
}  // namespace fieldprint::test
