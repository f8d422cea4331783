#include "engine/session_store.h"

#include <gtest/gtest.h>

namespace fieldprint {
namespace {

template <typename T>
std::string code(const Result<T>& result) {
  return result ? "" : result.error().code;
}

SessionTurn turn_of(const std::string& text, std::size_t tokens = 40) {
  SessionTurn turn;
  turn.messages = {{"user", text}};
  turn.before_answer = {{{1, 2, 3}, KvClass::kUser}};
  turn.answer = std::vector<TokenId>(tokens, 7);
  SessionResponse response;
  response.end_token = tokens;
  turn.responses.push_back(response);
  return turn;
}

void say(SessionStore& store, const std::string& id, const std::string& text, std::int64_t now) {
  const auto session = store.begin("me", id, now);
  ASSERT_TRUE(session) << session.error().code;
  store.commit(extend_session(**session, turn_of(text)), now);
}

TEST(SessionStore, LifeOfASession) {
  SessionStore store({});
  ASSERT_TRUE(store.create("me", "s1", 100));
  EXPECT_EQ(code(store.begin("me", "s1", 100)), "session_busy");
  EXPECT_EQ(code(store.rollback("me", "s1", 100, {}, nullptr)), "session_busy");
  EXPECT_EQ(code(store.mark("me", "s1", 100, {}, "x")), "session_busy");
  EXPECT_EQ(code(store.erase("me", "s1", 100)), "session_busy");
  store.abandon("s1");
  EXPECT_EQ(code(store.begin("me", "s1", 100)), "session_not_found");  // it never had a turn
  EXPECT_EQ(store.stats().made, 0U);
  EXPECT_EQ(store.stats().bytes, 0U);

  store.commit(extend_session(**store.create("me", "s1", 100), turn_of("one")), 110);
  say(store, "s1", "two", 120);
  const auto view = store.find("me", "s1", 120);
  ASSERT_TRUE(view);
  EXPECT_FALSE(view->busy);
  EXPECT_EQ(view->session->turns.size(), 2U);
  EXPECT_EQ(view->session->used, 120);
  ASSERT_TRUE(store.mark("me", "s1", 121, {"", 1, 16}, "early"));
  const auto fork = store.fork("me", "s1", 122, {"early", {}, {}}, nullptr, "s2");
  ASSERT_TRUE(fork);
  EXPECT_EQ((*fork)->parent, "s1");
  EXPECT_EQ((*fork)->parent_place, (SessionPlace{1, 16}));
  EXPECT_EQ((*fork)->end(), (SessionPlace{1, 16}));
  const auto undone = store.rollback("me", "s1", 123, {"", 1, {}}, nullptr);
  ASSERT_TRUE(undone);
  EXPECT_EQ((*undone)->end(), (SessionPlace{1, 40}));
  ASSERT_EQ((*undone)->undos.size(), 1U);
  EXPECT_EQ((*undone)->undos[0].from, (SessionPlace{2, 40}));
  EXPECT_EQ(view->session->turns.size(), 2U);  // what was read before is a value
  const auto list = store.list("me", 123);
  ASSERT_EQ(list.size(), 2U);
  EXPECT_EQ(list[0].session->id, "s1");
  ASSERT_TRUE(store.erase("me", "s1", 124));
  ASSERT_TRUE(store.erase("me", "s2", 124));
  EXPECT_EQ(store.stats().sessions, 0U);
  EXPECT_EQ(store.stats().bytes, 0U);
  EXPECT_EQ(store.stats().made, 2U);
  EXPECT_EQ(store.stats().undone, 1U);
}

TEST(SessionStore, NobodyElseFindsIt) {
  SessionStore store({});
  store.commit(extend_session(**store.create("me", "s1", 1), turn_of("one")), 1);
  EXPECT_EQ(code(store.find("you", "s1", 1)), "session_not_found");
  EXPECT_EQ(code(store.begin("you", "s1", 1)), "session_not_found");
  EXPECT_EQ(code(store.rollback("you", "s1", 1, {}, nullptr)), "session_not_found");
  EXPECT_EQ(code(store.fork("you", "s1", 1, {}, nullptr, "s2")), "session_not_found");
  EXPECT_EQ(code(store.mark("you", "s1", 1, {}, "x")), "session_not_found");
  EXPECT_EQ(code(store.erase("you", "s1", 1)), "session_not_found");
  EXPECT_TRUE(store.list("you", 1).empty());
}

TEST(SessionStore, LimitsAreNamed) {
  EXPECT_EQ(code(SessionStore({.sessions = 0}).create("me", "s", 1)), "sessions_off");
  SessionStore store({.sessions = 3, .per_owner = 2, .session_bytes = 1000});
  store.commit(**store.create("me", "s1", 1), 1);
  store.commit(**store.create("me", "s2", 1), 1);
  EXPECT_EQ(code(store.create("me", "s3", 1)), "sessions_full");
  EXPECT_EQ(code(store.fork("me", "s1", 1, {}, nullptr, "s3")), "sessions_full");
  ASSERT_TRUE(store.create("you", "s3", 1));
  EXPECT_EQ(code(store.create("them", "s4", 1)), "sessions_full");
  say(store, "s1", std::string(1000, 'x'), 2);
  EXPECT_EQ(code(store.begin("me", "s1", 2)), "session_too_large");
  ASSERT_TRUE(store.rollback("me", "s1", 2, {"", 0, {}}, nullptr));  // going back helps
  EXPECT_TRUE(store.begin("me", "s1", 2));
  SessionStore small({.total_bytes = 1000});
  small.commit(extend_session(**small.create("me", "s1", 1), turn_of(std::string(1000, 'x'))), 1);
  EXPECT_EQ(code(small.create("me", "s2", 1)), "sessions_full");
  EXPECT_EQ(code(small.begin("me", "s1", 1)), "sessions_full");
}

TEST(SessionStore, ForgetsWhatIsUnusedButNeverWhatIsBusy) {
  SessionStore store({.sessions = 2, .idle_seconds = 10});
  store.commit(extend_session(**store.create("me", "s1", 1), turn_of("one")), 1);
  ASSERT_TRUE(store.create("me", "busy", 1));
  EXPECT_TRUE(store.find("me", "s1", 11));
  EXPECT_EQ(code(store.find("me", "s1", 12)), "session_not_found");
  EXPECT_EQ(store.stats().expired, 1U);
  EXPECT_EQ(store.list("me", 100).size(), 1U);
  EXPECT_TRUE(store.create("me", "s3", 100));  // its place is free again
}

}  // namespace
}  // namespace fieldprint
