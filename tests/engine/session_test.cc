// Sessions against a reference that keeps everything in plain lists and copies it.
#include "engine/session.h"

#include <gtest/gtest.h>

#include <random>

#include "supervisor/supervisor.h"

namespace fieldprint {
namespace {

constexpr TokenId kEnd = 999;

DetectorSettings settings() { return make_detector_settings(0.1, 1e-3).value(); }

// A segment of 16 tokens that begins at `first` of its response.
SegmentReading reading(std::uint64_t first, double score) {
  SegmentReading r;
  r.first_token = first;
  r.end_token = first + 16;
  r.measured = true;
  r.angle = 0.5 + score;
  r.score = score;
  return r;
}

DetectorState state_after(DetectorState state, const std::vector<double>& scores) {
  for (const double score : scores) detector_step(settings(), state, score);
  return state;
}

// A response of `tokens` tokens, one score for each whole segment of 16.
SessionTurn response(const Session& session, const std::vector<TokenId>& tokens,
                     const std::vector<double>& scores) {
  SessionTurn turn;
  turn.answer = tokens;
  turn.ended = !tokens.empty() && tokens.back() == kEnd;
  SessionResponse made;
  made.end_token = tokens.size();
  SessionSupervision supervision;
  supervision.detector_anchor = "a";
  supervision.before = session_detector(session, "a");
  for (std::size_t i = 0; i < scores.size(); ++i)
    supervision.timeline.push_back(reading(16 * i, scores[i]));
  supervision.after = state_after(supervision.before, scores);
  made.supervision = supervision;
  turn.responses.push_back(made);
  return turn;
}

// The reference: for every token of the conversation what it is, and the scores that stand.
struct Reference {
  struct Response {
    std::vector<TokenId> tokens;
    std::vector<double> scores;
  };
  struct Turn {
    std::vector<TokenId> before;
    std::vector<Response> responses;
    std::vector<TokenId> answer() const {
      std::vector<TokenId> all;
      for (const Response& r : responses) all.insert(all.end(), r.tokens.begin(), r.tokens.end());
      return all;
    }
  };
  std::vector<Turn> turns;

  std::vector<TokenId> context() const {
    std::vector<TokenId> all;
    for (const Turn& turn : turns) {
      all.insert(all.end(), turn.before.begin(), turn.before.end());
      for (const TokenId token : turn.answer())
        if (token != kEnd) all.push_back(token);
    }
    return all;
  }
  std::vector<double> scores() const {
    std::vector<double> all;
    for (const Turn& turn : turns)
      for (const Response& r : turn.responses)
        all.insert(all.end(), r.scores.begin(), r.scores.end());
    return all;
  }
  void cut(std::size_t turn, std::size_t token) {
    turns.resize(turn);
    if (turn == 0) return;
    std::vector<Response> kept;
    for (Response r : turns.back().responses) {
      if (token == 0) break;
      if (r.tokens.size() > token) {
        r.tokens.resize(token);
        r.scores.resize(std::min(r.scores.size(), token / 16));
      }
      token -= r.tokens.size();
      kept.push_back(r);
    }
    turns.back().responses = kept;
  }
};

std::vector<TokenId> flat(const std::vector<TokenSpan>& spans) {
  std::vector<TokenId> all;
  for (const TokenSpan& span : spans) all.insert(all.end(), span.tokens.begin(), span.tokens.end());
  return all;
}

void expect_equal(const Session& session, const Reference& reference) {
  ASSERT_EQ(session.turns.size(), reference.turns.size());
  ASSERT_EQ(flat(session_context(session)), reference.context());
  for (std::size_t i = 0; i < reference.turns.size(); ++i)
    ASSERT_EQ(session.turns[i]->answer, reference.turns[i].answer());
  std::vector<double> angles;
  for (const auto& part : session_angles(session))
    angles.insert(angles.end(), part.begin(), part.end());
  std::vector<double> expected;
  for (const double score : reference.scores()) expected.push_back(0.5 + score);
  ASSERT_EQ(angles, expected);
  const DetectorState state = session_detector(session, "a");
  const DetectorState right = state_after({}, reference.scores());
  ASSERT_EQ(state.segments, right.segments);
  ASSERT_EQ(state.sums, right.sums);
}

// Answers, continuations, rollbacks and forks at random, two branches that share turns: each
// stays equal to its own reference.
TEST(Session, BranchesEqualTheReference) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    std::mt19937_64 rng(seed);
    std::uniform_real_distribution<double> score(0, 0.2);
    std::vector<std::pair<Session, Reference>> branches(1);
    for (int step = 0; step < 60; ++step) {
      auto& [session, reference] = branches[rng() % branches.size()];
      const std::uint64_t choice = rng() % 8;
      const bool open = !session.turns.empty() && !session.turns.back()->ended;
      if (choice < 4 && (choice > 0 || open)) {
        Reference::Response made;
        const std::size_t count = rng() % 70;
        for (std::size_t i = 0; i < count; ++i)
          made.tokens.push_back(static_cast<TokenId>(rng() % 500));
        if (count > 0 && rng() % 2 == 0) made.tokens.back() = kEnd;
        for (std::size_t i = 0; i < count / 16; ++i) made.scores.push_back(score(rng));
        SessionTurn turn = response(session, made.tokens, made.scores);
        if (choice > 0 || !open) {
          turn.messages = {{"user", "hi"}};
          const std::vector<TokenId> before = {static_cast<TokenId>(500 + rng() % 10), 600};
          turn.before_answer = {{before, KvClass::kUser}};
          reference.turns.push_back({before, {}});
        }
        reference.turns.back().responses.push_back(made);
        session = extend_session(session, turn);
      } else {
        SessionTarget target;
        target.turn = rng() % (session.turns.size() + 1);
        const std::size_t size =
            *target.turn == 0 ? 0 : session.turns[*target.turn - 1]->answer.size();
        if (rng() % 3 != 0) target.token = size / 16 == 0 ? 0 : 16 * (rng() % (size / 16 + 1));
        const auto place = resolve_place(session, target);
        ASSERT_TRUE(place) << place.error().message;
        const DetectorSettings detector = settings();
        Reference after = reference;
        after.cut(place->turn, place->token);
        Session cut = cut_session(session, *place, &detector);
        if (branches.size() < 4 && rng() % 2 == 0) {
          branches.emplace_back(std::move(cut), std::move(after));
        } else {
          session = std::move(cut);
          reference = std::move(after);
        }
      }
      for (const auto& [each, its_reference] : branches) {
        expect_equal(each, its_reference);
        if (HasFatalFailure()) FAIL() << "seed " << seed << " step " << step;
      }
    }
  }
}

Session two_turns() {
  Session session;
  for (int i = 0; i < 2; ++i) {
    SessionTurn turn = response(session, std::vector<TokenId>(40, 7), {0.1, 0.1});
    turn.messages = {{"user", "hi"}};
    session = extend_session(session, turn);
  }
  return session;
}

TEST(Session, PlacesAreChecked) {
  const Session session = two_turns();
  const auto code = [&](const SessionTarget& target) {
    const auto place = resolve_place(session, target);
    return place ? std::to_string(place->turn) + ":" + std::to_string(place->token)
                 : place.error().code;
  };
  EXPECT_EQ(code({"", {}, {}}), "2:40");
  EXPECT_EQ(code({"", 1, {}}), "1:40");
  EXPECT_EQ(code({"", 1, 40}), "1:40");
  EXPECT_EQ(code({"", {}, 32}), "2:32");
  EXPECT_EQ(code({"", 0, {}}), "0:0");
  EXPECT_EQ(code({"", 3, {}}), "session_place_invalid");
  EXPECT_EQ(code({"", 1, 17}), "session_place_invalid");
  EXPECT_EQ(code({"", 1, 48}), "session_place_invalid");
  EXPECT_EQ(code({"", 0, 16}), "session_place_invalid");
  EXPECT_EQ(code({"nowhere", {}, {}}), "session_checkpoint_missing");
}

TEST(Session, CheckpointsGoWithWhatTheyNamed) {
  Session session = mark_session(two_turns(), "early", {1, 16}).value();
  session = mark_session(session, "late", {2, 32}).value();
  EXPECT_EQ(resolve_place(session, {"late", {}, {}}), (SessionPlace{2, 32}));
  const Session cut = cut_session(session, {2, 16}, nullptr);
  EXPECT_TRUE(cut.checkpoints.contains("early"));
  EXPECT_FALSE(cut.checkpoints.contains("late"));
  EXPECT_FALSE(mark_session(session, "", {}));
  EXPECT_FALSE(mark_session(session, "a b", {}));
  EXPECT_FALSE(mark_session(session, std::string(65, 'a'), {}));
  for (int i = 0; i < 62; ++i) session = mark_session(session, std::to_string(i), {}).value();
  EXPECT_EQ(mark_session(session, "more", {}).error().code, "session_checkpoint_invalid");
  EXPECT_TRUE(mark_session(session, "late", {}));
}

// What the engine took back in the middle of a response counts neither as an angle nor in the
// detector's state after a cut.
TEST(Session, ReadingsThatWereRolledBackDoNotCount) {
  Session session;
  SessionTurn turn = response(session, std::vector<TokenId>(48, 7), {});
  turn.messages = {{"user", "hi"}};
  SessionSupervision& kept = *turn.responses[0].supervision;
  kept.timeline = {reading(0, 0.1), reading(16, 0.9), reading(16, 0.2), reading(32, 0.3)};
  kept.timeline[2].generation = kept.timeline[3].generation = 1;
  RollbackRecord rollback;
  rollback.to_token = 16;
  kept.rollbacks = {rollback};
  session = extend_session(session, turn);
  EXPECT_EQ(session_angles(session), (std::vector<std::vector<double>>{{0.6, 0.7, 0.8}}));
  const DetectorSettings detector = settings();
  const Session cut = cut_session(session, {1, 32}, &detector);
  EXPECT_EQ(session_detector(cut, "a").sums, state_after({}, {0.1, 0.2}).sums);
  EXPECT_EQ(session_detector(cut, "another anchor").segments, 0U);
  EXPECT_EQ(session_detector(cut_session(session, {1, 32}, nullptr), "a").segments, 0U);
  EXPECT_TRUE(cut.turns[0]->responses[0].cut);
  EXPECT_EQ(cut.turns[0]->responses[0].end_token, 32U);
}

// Spans of a class join, so that a continued answer has the pages it had when it was generated.
TEST(Session, ContextJoinsSpansOfAClass) {
  SessionTurn turn;
  turn.messages = {{"user", "hi"}};
  turn.before_answer = {{{1, 2}, KvClass::kUser}, {{3}, KvClass::kOutput}};
  turn.answer = {4, kEnd};
  turn.ended = true;
  const Session session = extend_session({}, turn);
  const auto spans = session_context(session);
  ASSERT_EQ(spans.size(), 2U);
  EXPECT_EQ(spans[1].cls, KvClass::kOutput);
  EXPECT_EQ(spans[1].tokens, (std::vector<TokenId>{3, 4}));
}

}  // namespace
}  // namespace fieldprint
