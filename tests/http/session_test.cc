// Sessions as clients see them: conversations on the server, going back, branching.
#include <cmath>

#include "anchor/artifact.h"
#include "http/fake_supervision.h"
#include "http/fixture.h"
#include "http/session_call.h"
#include "supervisor/supervision_fixture.h"

namespace fieldprint::testing_http {
namespace {

constexpr const char* kChat = "/v1/chat/completions";
constexpr const char* kSessions = "/v1/fieldprint/sessions";

std::string say(const std::string& session, const std::string& text, const std::string& more = "") {
  return R"({"messages":[{"role":"user","content":")" + text + R"("}],"seed":3,)" + more +
         R"("fieldprint":{"session":")" + session + "\"}}";
}
std::string go_on(const std::string& session) {
  return R"({"seed":5,"fieldprint":{"session":")" + session + "\"}}";
}

// The prompt that the engine got, one character for each token.
std::string flat(const GenerationRequest& request) {
  std::string out;
  for (const TokenSpan& span : request.prompt) {
    for (const TokenId token : span.tokens)
      out += token < 256 ? std::string(1, static_cast<char>(token))
                         : "<" + std::to_string(token) + ">";
  }
  return out;
}

class Sessions : public ServerTest {
 protected:
  std::string begin(std::int32_t words = 40) {
    engine_.set({.words = words, .says_end = true});
    const Reply reply = post(port_, kChat, say("new", "one"));
    EXPECT_EQ(reply.status, 200) << reply.body;
    const json session = json::parse(reply.body)["fieldprint"]["session"];
    EXPECT_EQ(reply.headers.at("fieldprint-session"), session["id"]);
    EXPECT_EQ(session["turn"], 1);
    EXPECT_EQ(session["token"], words + 1);
    return session["id"];
  }
  Reply verb(const std::string& id, const std::string& what, const std::string& body) {
    return post(port_, std::string(kSessions) + "/" + id + "/" + what, body);
  }
  json show(const std::string& id) {
    const Reply reply = get(port_, std::string(kSessions) + "/" + id);
    EXPECT_EQ(reply.status, 200) << reply.body;
    return json::parse(reply.body);
  }
  Reply remove(const std::string& id) {
    RawClient client(port_);
    client.send(
        request_bytes("DELETE", std::string(kSessions) + "/" + id, "", {{"Connection", "close"}}));
    return parse_reply(client.read_to_end());
  }
  // First letters of the fake's 40 words for a seed: its tokens.
  std::string answer_of(const std::string& id, std::size_t turn) {
    return show(id)["turns"][turn - 1]["answer"]["text"];
  }
};

TEST_F(Sessions, ANewMessageContinuesTheTokensThatWereSampled) {
  start_ready();
  const std::string id = begin();
  const std::string first = answer_of(id, 1);
  ASSERT_EQ(first.size(), 40U);
  const Reply reply = post(port_, kChat, say(id, "two"));
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(flat(engine_.last_request()), "<256><258>one<259>" + first + "<257><258>two<259>");
  EXPECT_EQ(json::parse(reply.body)["fieldprint"]["session"]["turn"], 2);
  const json shown = show(id);
  EXPECT_EQ(shown["turns"].size(), 2U);
  EXPECT_EQ(shown["turns"][1]["messages"][0]["content"], "two");
  EXPECT_EQ(shown["turns"][1]["responses"][0]["seed"], 3);
  EXPECT_EQ(shown["drift"]["within_answers"]["code"], "drift_too_few");
  EXPECT_FALSE(shown["busy"]);
}

// Back into the middle of an answer: the next request continues it from the kept tokens, in the
// class and the span that they had, so that the pages are the same.
TEST_F(Sessions, GoesBackToABlockAndOnFromThere) {
  start_ready();
  const std::string id = begin();
  const std::string first = answer_of(id, 1);
  ASSERT_EQ(post(port_, kChat, say(id, "two")).status, 200);
  const Reply undone = verb(id, "rollback", R"({"turn":1,"token":32})");
  ASSERT_EQ(undone.status, 200) << undone.body;
  EXPECT_EQ(json::parse(undone.body)["end"], json({{"turn", 1}, {"token", 32}}));
  ASSERT_EQ(post(port_, kChat, go_on(id)).status, 200);
  const GenerationRequest request = engine_.last_request();
  EXPECT_EQ(flat(request), "<256><258>one<259>" + first.substr(0, 32));
  EXPECT_EQ(request.prompt.back().cls, KvClass::kOutput);
  EXPECT_EQ(request.prompt.back().tokens.size(), 33U);
  const json shown = show(id);
  ASSERT_EQ(shown["turns"].size(), 1U);
  EXPECT_EQ(shown["turns"][0]["answer"]["tokens"], 32 + 41);
  const json responses = shown["turns"][0]["responses"];
  ASSERT_EQ(responses.size(), 2U);
  EXPECT_TRUE(responses[0]["cut"]);
  EXPECT_EQ(responses[1]["first_token"], 32);
  EXPECT_EQ(shown["rollbacks"][0]["from"], json({{"turn", 2}, {"token", 41}}));
  EXPECT_EQ(metric("fieldprint_session_rollbacks_total"), 1);
}

TEST_F(Sessions, AForkLeavesTheOtherAlone) {
  start_ready();
  const std::string id = begin();
  const std::string first = answer_of(id, 1);
  ASSERT_EQ(verb(id, "checkpoint", R"({"name":"start","turn":1,"token":16})").status, 200);
  const Reply forked = verb(id, "fork", R"({"checkpoint":"start"})");
  ASSERT_EQ(forked.status, 200) << forked.body;
  const std::string other = json::parse(forked.body)["id"];
  EXPECT_NE(other, id);
  EXPECT_EQ(json::parse(forked.body)["parent"]["id"], id);
  ASSERT_EQ(post(port_, kChat, say(other, "else")).status, 200);
  EXPECT_EQ(flat(engine_.last_request()),
            "<256><258>one<259>" + first.substr(0, 16) + "<257><258>else<259>");
  EXPECT_EQ(show(id)["turns"].size(), 1U);
  EXPECT_EQ(show(other)["turns"].size(), 2U);
  EXPECT_EQ(json::parse(get(port_, kSessions).body)["data"].size(), 2U);
  EXPECT_EQ(remove(other).status, 200);
  EXPECT_EQ(code_of(get(port_, std::string(kSessions) + "/" + other)), "session_not_found");
}

TEST_F(Sessions, StreamsAreKeptToo) {
  start_ready();
  engine_.set({.words = 3, .says_end = true});
  const Reply reply = post(port_, kChat, say("new", "one", R"("stream":true,)"));
  ASSERT_EQ(reply.status, 200);
  const std::string id = reply.headers.at("fieldprint-session");
  EXPECT_NE(reply.body.find(R"("session":{"id":")" + id), std::string::npos);
  EXPECT_EQ(show(id)["end"], json({{"turn", 1}, {"token", 4}}));
}

TEST_F(Sessions, WhatFailsChangesNothing) {
  start_ready();
  const std::string id = begin();
  engine_.set({.fail_after = 1, .failure = Error{ErrorKind::kExhausted, "kv_exhausted", "x", ""}});
  EXPECT_EQ(post(port_, kChat, say(id, "two")).status, 503);
  EXPECT_EQ(show(id)["turns"].size(), 1U);
  EXPECT_EQ(post(port_, kChat, say("new", "two")).status, 503);
  EXPECT_EQ(json::parse(get(port_, kSessions).body)["data"].size(), 1U);
  // Neither does a client that leaves.
  engine_.set({.words = 4, .stall_after = 1});
  RawClient client(port_);
  client.send(request_bytes("POST", kChat, say(id, "two", R"("stream":true,)"),
                            {{"Content-Type", "application/json"}}));
  client.read_until("\"content\"");
  EXPECT_EQ(code_of(post(port_, kChat, say(id, "three"))), "session_busy");
  EXPECT_EQ(code_of(verb(id, "rollback", R"({"turn":0})")), "session_busy");
  EXPECT_EQ(code_of(remove(id)), "session_busy");
  EXPECT_TRUE(show(id)["busy"]);
  client.close();
  EXPECT_TRUE(eventually([&] { return !show(id)["busy"].get<bool>(); }));
  EXPECT_EQ(show(id)["turns"].size(), 1U);
}

TEST_F(Sessions, RefusesByName) {
  start_ready();
  const std::string id = begin();
  const auto chat = [&](const std::string& body) { return code_of(post(port_, kChat, body)); };
  EXPECT_EQ(chat(go_on(id)), "session_answer_ended");
  EXPECT_EQ(chat(go_on("new")), "missing_field");
  EXPECT_EQ(chat(say("fps-0", "x")), "session_not_found");
  EXPECT_EQ(chat(say("my own name", "x")), "session_not_found");
  EXPECT_EQ(chat(say(id, "x", R"("n":2,)")), "invalid_value");
  EXPECT_EQ(
      code_of(post(port_, "/v1/completions", R"({"prompt":"a","fieldprint":{"session":"new"}})")),
      "unsupported");
  EXPECT_EQ(code_of(verb(id, "rollback", R"({"turn":1,"token":17})")), "session_place_invalid");
  EXPECT_EQ(code_of(verb(id, "rollback", "{}")), "missing_field");
  EXPECT_EQ(code_of(verb(id, "rollback", R"({"turns":1})")), "missing_field");
  EXPECT_EQ(code_of(verb(id, "fork", R"({"turns":1})")), "unknown_field");
  EXPECT_EQ(code_of(verb(id, "fork", R"({"checkpoint":"no"})")), "session_checkpoint_missing");
  EXPECT_EQ(code_of(verb(id, "fork", R"({"checkpoint":"no","turn":1})")), "invalid_value");
  EXPECT_EQ(code_of(verb(id, "checkpoint", R"({"turn":1})")), "missing_field");
  EXPECT_EQ(code_of(verb(id, "checkpoint", R"({"name":"a b"})")), "session_checkpoint_invalid");
  EXPECT_EQ(get(port_, std::string(kSessions) + "/" + id + "/rollback").status, 405);
  EXPECT_EQ(post(port_, std::string(kSessions) + "/" + id, "{}").headers.at("allow"),
            "GET, DELETE");
}

TEST_F(Sessions, AreForTheKeyThatMadeThem) {
  ServerOptions options = test_options();
  options.api_keys = {"key-of-alice", "key-of-bob"};
  options.sessions.per_owner = 1;
  start_ready(options);
  const ExtraHeaders alice = {{"Authorization", "Bearer key-of-alice"}};
  const ExtraHeaders bob = {{"Authorization", "Bearer key-of-bob"}};
  const Reply made = post(port_, kChat, say("new", "one"), alice);
  ASSERT_EQ(made.status, 200);
  const std::string id = made.headers.at("fieldprint-session");
  const std::string path = std::string(kSessions) + "/" + id;
  EXPECT_EQ(get(port_, path, alice).status, 200);
  EXPECT_EQ(code_of(get(port_, path, bob)), "session_not_found");
  EXPECT_EQ(code_of(post(port_, kChat, say(id, "x"), bob)), "session_not_found");
  EXPECT_EQ(code_of(post(port_, path + "/fork", "{}", bob)), "session_not_found");
  EXPECT_TRUE(json::parse(get(port_, kSessions, bob).body)["data"].empty());
  EXPECT_EQ(post(port_, kChat, say("new", "x"), alice).status, 503);
  EXPECT_EQ(post(port_, kChat, say("new", "x"), bob).status, 200);
  EXPECT_EQ(get(port_, path).status, 401);
}

// What renders earlier turns in another way later cannot be continued from tokens.
class Fickle final : public TextService {
 public:
  std::vector<TokenId> encode(std::string_view text, bool special) const override {
    return plain_.encode(text, special);
  }
  std::string decode(std::span<const TokenId> tokens, bool special) const override {
    return plain_.decode(tokens, special);
  }
  std::int32_t vocab_size() const override { return plain_.vocab_size(); }
  bool is_end_of_generation(TokenId token) const override { return token == 257; }
  TokenId bos() const override { return plain_.bos(); }
  bool adds_bos() const override { return true; }
  Result<std::vector<TokenSpan>> render(std::span<const ChatMessage> messages,
                                        const ChatRender& options) const override {
    FP_ASSIGN(auto spans, plain_.render(messages, options));
    spans[0].tokens.insert(spans[0].tokens.begin(), static_cast<TokenId>(messages.size()));
    return spans;
  }

 private:
  FakeText plain_;
};

TEST_F(Sessions, ATemplateThatIsNotIncrementalIsRefused) {
  start();
  ServiceContext service = test_service(engine_);
  service.text = std::make_shared<Fickle>();
  server_->set_ready(service);
  const std::string id = begin();
  EXPECT_EQ(code_of(post(port_, kChat, say(id, "two"))), "session_template_unsupported");
  EXPECT_EQ(show(id)["turns"].size(), 1U);
}

class SupervisedSessions : public Sessions {
 protected:
  void SetUp() override {
    const std::string anchor = "sha256:" + std::string(64, 'a');
    start();
    ServiceContext service = test_service(engine_);
    service.anchor = AnchorInfo{anchor, "aria", "joint", "system", 12};
    auto artifact = std::make_shared<AnchorArtifact>();
    artifact->digest = anchor;
    artifact->text = "I am Aria.";
    service.front.artifact = artifact;
    service.front.supervision = test::tiny_model();
    server_->set_ready(service);
    engine_.set_anchor(anchor);
    engine_.set_supervision({true, true, fake_recipe()});
    engine_.set({.words = 40, .says_end = true});
  }
};

TEST_F(SupervisedSessions, TheDetectorGoesFromAnswerToAnswer) {
  const Reply first = post(port_, kChat, say("new", "one"));
  ASSERT_EQ(first.status, 200) << first.body;
  const std::string id = first.headers.at("fieldprint-session");
  EXPECT_EQ(engine_.last_request().supervision->detector.segments, 0U);
  ASSERT_EQ(post(port_, kChat, say(id, "two")).status, 200);
  EXPECT_EQ(engine_.last_request().supervision->detector.segments, 1U);
  // The reminder is the conversation with the identity before the new message.
  const GenerationRequest request = engine_.last_request();
  GenerationRequest reminded;
  reminded.prompt = request.supervision->reminder;
  const std::string plain = flat(request);
  const std::string expected = "<258>I am Aria.<258>two<259>";
  ASSERT_TRUE(flat(reminded).ends_with(expected)) << flat(reminded);
  EXPECT_EQ(flat(reminded).substr(0, flat(reminded).size() - expected.size()),
            plain.substr(0, plain.size() - std::string("<258>two<259>").size()));
  const json shown = show(id);
  ASSERT_EQ(shown["timeline"].size(), 2U);
  EXPECT_EQ(shown["timeline"][1]["turn"], 2);
  EXPECT_EQ(shown["timeline"][1]["angle"], 0.25);
  EXPECT_TRUE(shown["timeline"][1]["kept"]);
  EXPECT_EQ(shown["drift"]["angles"], 2);
  EXPECT_EQ(shown["turns"][0]["responses"][0]["supervision"]["release"], "strict");
  // In the middle of the only segment of the answer nothing has been measured.
  ASSERT_EQ(verb(id, "rollback", R"({"turn":1,"token":16})").status, 200);
  ASSERT_EQ(post(port_, kChat, go_on(id)).status, 200);
  EXPECT_EQ(engine_.last_request().supervision->detector.segments, 0U);
  EXPECT_TRUE(engine_.last_request().supervision->reminder.empty());
}

TEST_F(SupervisedSessions, AgentsAreUsersOrSessions) {
  const auto ask = [&](const std::string& more) {
    const Reply reply =
        post(port_, kChat, R"({"messages":[{"role":"user","content":"hi"}],"seed":3)" + more + "}");
    ASSERT_EQ(reply.status, 200) << reply.body;
  };
  ask("");
  EXPECT_EQ(get(port_, "/v1/fieldprint/pacemaker").body, R"({"anchors":[]})");
  ask(R"(,"user":"ann")");
  ask(R"(,"user":"ann","fieldprint":{"session":"new"})");
  ask(R"(,"fieldprint":{"session":"new"})");
  const json anchors = json::parse(get(port_, "/v1/fieldprint/pacemaker").body)["anchors"];
  ASSERT_EQ(anchors.size(), 1U);
  EXPECT_EQ(anchors[0]["order"]["agents"], 2);
  EXPECT_EQ(anchors[0]["order"]["states"], 3);
  EXPECT_NEAR(anchors[0]["order"]["r2"].get<double>(), 1, 1e-5);
  EXPECT_NEAR(anchors[0]["order"]["rho"].get<double>(), std::cos(0.25), 1e-5);
  EXPECT_EQ(anchors[0]["agents"][0]["agent"], "ann");
  EXPECT_EQ(anchors[0]["agents"][0]["states"], 2);
  const std::string session = anchors[0]["agents"][1]["agent"];
  EXPECT_TRUE(session.starts_with("fps-"));
  EXPECT_EQ(metric("fieldprint_pacemaker_agents"), 2);
  EXPECT_EQ(remove(session).status, 200);
  EXPECT_EQ(metric("fieldprint_pacemaker_agents"), 1);
}

TEST_F(Sessions, ThePacemakerIsEmptyWithoutMeasurements) {
  start_ready();
  (void)begin();
  EXPECT_EQ(get(port_, "/v1/fieldprint/pacemaker").body, R"({"anchors":[]})");
  EXPECT_EQ(metric("fieldprint_pacemaker_agents"), 0);
  EXPECT_EQ(metric("fieldprint_sessions"), 1);
}

}  // namespace
}  // namespace fieldprint::testing_http
