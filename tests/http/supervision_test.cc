// Supervision as clients see it: what they may ask for, rollback events, the response's block.
#include "http/supervision.h"

#include "anchor/artifact.h"
#include "http/fake_supervision.h"
#include "http/fixture.h"

namespace fieldprint::testing_http {
namespace {

const std::string kAnchor = "sha256:" + std::string(64, 'a');
constexpr const char* kPath = "/v1/chat/completions";

std::string ask(const std::string& fieldprint, const std::string& more = "") {
  return R"({"messages":[{"role":"user","content":"hi"}],"seed":3,"fieldprint":)" + fieldprint +
         (more.empty() ? "" : "," + more) + "}";
}

class Supervision : public ServerTest {
 protected:
  void begin(ReleasePolicy policy = {}) {
    ServerOptions options = test_options();
    options.release = policy;
    start(options);
    ServiceContext service = test_service(engine_);
    service.anchor = AnchorInfo{kAnchor, "aria", "joint", "system", 12};
    auto artifact = std::make_shared<AnchorArtifact>();
    artifact->digest = kAnchor;
    artifact->text = "I am Aria.";
    service.front.artifact = artifact;
    server_->set_ready(service);
    engine_.set_anchor(kAnchor);
    engine_.set_supervision({true, true, fake_recipe()});
  }
  std::optional<ReleaseMode> release_of(const std::string& body) {
    const Reply reply = post(port_, kPath, body);
    EXPECT_EQ(reply.status, 200) << reply.body;
    const auto supervision = engine_.last_request().supervision;
    return supervision ? std::optional(supervision->release) : std::nullopt;
  }
};

// A client that keeps what every OpenAI client keeps, and takes back what it is told to.
struct Reader {
  std::vector<std::string> texts;
  std::vector<json> rollbacks;
  json last;  // the chunk with the fieldprint block
  bool done = false;

  void read(const std::string& body) {
    std::size_t at = 0;
    while (at < body.size()) {
      const std::size_t end = body.find("\n\n", at);
      ASSERT_NE(end, std::string::npos);
      event(body.substr(at, end - at));
      at = end + 2;
    }
  }
  void event(std::string text) {
    std::string name;
    if (text.starts_with("event: ")) {
      name = text.substr(7, text.find('\n') - 7);
      text = text.substr(text.find('\n') + 1);
    }
    ASSERT_TRUE(text.starts_with("data: ")) << text;
    if (text == "data: [DONE]") {
      done = true;
      return;
    }
    const json chunk = json::parse(text.substr(6));
    if (chunk.contains("fieldprint")) last = chunk;
    for (const json& choice : chunk.at("choices")) {
      const auto index = choice["index"].get<std::size_t>();
      if (texts.size() <= index) texts.resize(index + 1);
      const json& holder = choice.contains("delta") ? choice["delta"] : choice;
      texts[index] += holder.value(choice.contains("delta") ? "content" : "text", "");
    }
    EXPECT_EQ(name, chunk.contains("fieldprint") && chunk["fieldprint"].contains("rollback")
                        ? "fieldprint.rollback"
                        : "");
    if (name.empty()) return;
    const json& rollback = chunk["fieldprint"]["rollback"];
    texts.at(rollback["choice"].get<std::size_t>()).resize(rollback["from_byte"]);
    rollbacks.push_back(rollback);
  }
};

TEST_F(Supervision, StrictUnlessTheClientOptsIn) {
  begin();
  EXPECT_EQ(release_of(kHi), ReleaseMode::kStrict);
  EXPECT_EQ(release_of(ask("{}", R"("stream":true)")), ReleaseMode::kStrict);
  EXPECT_EQ(release_of(ask(R"({"release":"optimistic"})", R"("stream":true)")),
            ReleaseMode::kOptimistic);
  EXPECT_EQ(release_of(ask(R"({"release":"off"})")), ReleaseMode::kOff);
  EXPECT_EQ(release_of(ask(R"({"release":"strict"})")), ReleaseMode::kStrict);
}

TEST_F(Supervision, AnOptimisticServerStillHoldsBackStreamsThatDidNotAsk) {
  begin({ReleaseChoice::kOptimistic, ReleaseChoice::kNone});
  EXPECT_EQ(release_of(kHi), ReleaseMode::kOptimistic);
  EXPECT_EQ(release_of(ask("{}", R"("stream":true)")), ReleaseMode::kStrict);
  EXPECT_EQ(release_of(ask(R"({"release":"none"})")), std::nullopt);
}

TEST_F(Supervision, WeakerThanTheServerAllowsIsRefused) {
  begin({ReleaseChoice::kNone, ReleaseChoice::kOptimistic});
  EXPECT_EQ(release_of(kHi), ReleaseMode::kOptimistic);  // the minimum is above the default
  for (const char* weak : {"off", "none"}) {
    const Reply reply = post(port_, kPath, ask(std::string(R"({"release":")") + weak + "\"}"));
    EXPECT_EQ(reply.status, 403);
    EXPECT_EQ(code_of(reply), "release_not_allowed");
    EXPECT_NE(reply.body.find("--min-release"), std::string::npos);
  }
}

TEST_F(Supervision, WithoutARecipeOnlyWhatWasAskedForByNameIsRefused) {
  begin();
  engine_.set_supervision({true, false, fake_recipe()});
  EXPECT_EQ(release_of(kHi), ReleaseMode::kOff);  // fingerprints, no angle
  engine_.set_supervision({});
  EXPECT_EQ(release_of(kHi), std::nullopt);
  EXPECT_EQ(release_of(ask(R"({"release":"off"})")), std::nullopt);
  for (const char* wanted : {"strict", "optimistic"}) {
    const Reply reply = post(port_, kPath, ask(std::string(R"({"release":")") + wanted + "\"}"));
    EXPECT_EQ(reply.status, 400);
    EXPECT_EQ(code_of(reply), "supervision_unavailable");
    EXPECT_NE(reply.body.find("fieldprint anchor calibrate"), std::string::npos);
    EXPECT_EQ(json::parse(reply.body)["error"]["param"], "fieldprint.release");
  }
}

TEST(DecideRelease, AMinimumThatCannotBeMetIsNotMetSilently) {
  const ReleasePolicy policy{ReleaseChoice::kStrict, ReleaseChoice::kStrict};
  const auto refused = decide_release(policy, {}, Anchored::kYes, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "supervision_unavailable");
  // An override is leave to go without.
  EXPECT_EQ(decide_release(policy, {}, Anchored::kNo, {true, true, {}}).value(), std::nullopt);
  RequestBase base;
  base.release = ReleaseChoice::kStrict;
  EXPECT_FALSE(decide_release(policy, base, Anchored::kNo, {true, true, {}}));
}

TEST_F(Supervision, TheReminderSaysTheIdentityAgainBeforeTheLastTurn) {
  begin();
  (void)post(port_, kPath,
             R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},
                             {"role":"user","content":"c"}]})");
  const auto spans = engine_.last_request().supervision->reminder;
  ASSERT_EQ(spans.size(), 5U);
  EXPECT_EQ(spans[2].cls, KvClass::kSystem);
  EXPECT_EQ(FakeText().decode(spans[2].tokens, false), "I am Aria.");
  EXPECT_EQ(FakeText().decode(spans[3].tokens, false), "c");
  (void)post(port_, kPath, R"({"messages":[{"role":"assistant","content":"b"}]})");
  EXPECT_TRUE(engine_.last_request().supervision->reminder.empty());
  (void)post(port_, kPath, ask(R"({"release":"off"})"));
  EXPECT_TRUE(engine_.last_request().supervision->reminder.empty());
  (void)post(port_, "/v1/completions", R"({"prompt":"a"})");
  EXPECT_TRUE(engine_.last_request().supervision->reminder.empty());
}

TEST_F(Supervision, AStreamWithRollbacksReassemblesToTheWholeAnswer) {
  begin();
  engine_.set({.words = 6, .breaches = 2, .keep = 2});
  const std::string more = R"("n":2,"logprobs":true)";
  const json whole = json::parse(post(port_, kPath, ask(R"({"release":"optimistic"})", more)).body);
  EXPECT_EQ(whole["choices"][0]["logprobs"]["content"].size(), 6U);
  for (const char* path : {kPath, "/v1/completions"}) {
    const bool chat = path == std::string(kPath);
    const Reply reply = post(port_, path,
                             chat ? ask(R"({"release":"optimistic"})", more + R"(,"stream":true)")
                                  : R"({"prompt":"hi","seed":3,"n":2,"stream":true,"max_tokens":20,
                        "fieldprint":{"release":"optimistic"}})");
    Reader reader;
    reader.read(reply.body);
    EXPECT_TRUE(reader.done);
    ASSERT_EQ(reader.rollbacks.size(), 4U);  // two of each choice
    ASSERT_EQ(reader.texts.size(), 2U);
    for (std::size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(reader.texts[i], whole["choices"][i]["message"]["content"]) << path;
    }
    const auto read_back = response_texts(reply.body);
    ASSERT_TRUE(read_back) << read_back.error().message;
    EXPECT_EQ(*read_back, reader.texts);
    const json& second = reader.rollbacks[1];
    EXPECT_EQ(second["choice"], 0);
    EXPECT_EQ(second["generation"], 2);
    EXPECT_EQ(second["reason"], "limit");
    EXPECT_EQ(second["change"], "reseed");
    EXPECT_EQ(second["from_index"], second["from_byte"]);
    EXPECT_EQ(second["from_logprob"], 2);
    EXPECT_EQ(second["angle"], 2.5);
    EXPECT_EQ(second["to_token"], 2);
    EXPECT_EQ(second["released_tokens"], 2);
  }
}

TEST_F(Supervision, AStreamThatDidNotAskHasNoNamedEvents) {
  begin();
  engine_.set({.words = 6, .breaches = 2, .keep = 2});
  const Reply reply = post(port_, kPath, ask("{}", R"("stream":true)"));
  EXPECT_EQ(reply.body.find("event:"), std::string::npos);
  Reader reader;
  reader.read(reply.body);
  EXPECT_EQ(reader.texts[0].find("WRONG"), std::string::npos);
  EXPECT_EQ(reader.last["fieldprint"]["supervision"][0]["rollbacks"].size(), 2U);
}

TEST_F(Supervision, TheBlockSaysWhatHappened) {
  begin();
  engine_.set({.words = 6, .breaches = 1, .keep = 2, .gap = 1});
  const json body = json::parse(post(port_, kPath, ask(R"({"timeline":true})")).body);
  const json& block = body["fieldprint"]["supervision"][0];
  EXPECT_EQ(block["release"], "strict");
  EXPECT_EQ(block["state"], "complete");
  EXPECT_EQ(block["chain_head"].get<std::string>().substr(0, 7), "sha256:");
  EXPECT_EQ(block["segments"], 2);
  EXPECT_EQ(block["gaps"], 1);
  EXPECT_EQ(block["unlogged"], 0);
  EXPECT_EQ(block["alarms"], 1);
  EXPECT_TRUE(block["filtered"].is_null());
  // The dropped segment's angle is in the rollback and the timeline, not among the answer's.
  EXPECT_EQ(
      block["angles"],
      (json{{"measured", 1}, {"first", 0.25}, {"last", 0.25}, {"mean", 0.25}, {"max", 0.25}}));
  const json& rollback = block["rollbacks"][0];
  EXPECT_EQ(rollback["from_token"], 4);
  EXPECT_EQ(rollback["to_token"], 2);
  EXPECT_EQ(rollback["cause"], "limit");
  EXPECT_EQ(rollback["angle"], 1.5);
  EXPECT_TRUE(rollback["quarantined"].is_null());
  EXPECT_EQ(rollback["attention_mass"]["anchor"], 0.5);
  ASSERT_EQ(block["timeline"].size(), 2U);
  EXPECT_EQ(block["timeline"][0]["kept"], false);
  EXPECT_EQ(block["timeline"][0]["cause"], "limit");
  EXPECT_EQ(block["timeline"][1]["kept"], true);
  EXPECT_EQ(block["timeline"][1]["generation"], 1);
  const json plain = json::parse(post(port_, kPath, kHi).body);
  EXPECT_FALSE(plain["fieldprint"]["supervision"][0].contains("timeline"));
}

TEST_F(Supervision, AnAnswerThatWasEndedSaysWhy) {
  begin();
  engine_.set({.words = 6, .breaches = 3, .keep = 1, .filtered = true});
  const json body = json::parse(post(port_, kPath, ask("{}")).body);
  EXPECT_EQ(body["choices"][0]["finish_reason"], "content_filter");
  EXPECT_EQ(body["fieldprint"]["supervision"][0]["filtered"],
            (json{{"cause", "limit"}, {"angle", 3.5}, {"attempts", 2}}));
  const Reply reply = post(port_, kPath, ask(R"({"release":"optimistic"})", R"("stream":true)"));
  Reader reader;
  reader.read(reply.body);
  EXPECT_EQ(reader.texts[0], body["choices"][0]["message"]["content"]);
  EXPECT_EQ(reader.rollbacks.back()["change"], "stop");
  EXPECT_EQ(reader.last["choices"][0]["finish_reason"], "content_filter");
}

}  // namespace
}  // namespace fieldprint::testing_http
