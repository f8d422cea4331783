// Chat and plain completions, whole and streamed.
#include "http/fixture.h"

namespace fieldprint::testing_http {
namespace {

using Chat = ServerTest;

std::string joined(const std::vector<TokenSpan>& spans) {
  std::string out;
  for (const TokenSpan& span : spans) {
    out += "[" + std::string(kv_class_name(span.cls)) + ":";
    for (const TokenId token : span.tokens) {
      out += token < 256 ? std::string(1, static_cast<char>(token))
                         : "<" + std::to_string(token) + ">";
    }
    out += "]";
  }
  return out;
}

// The JSON of each "data:" frame; checks the exact framing on the way.
std::vector<std::string> frames_of(const std::string& body) {
  std::vector<std::string> frames;
  std::size_t at = 0;
  while (at < body.size()) {
    const std::size_t end = body.find("\n\n", at);
    EXPECT_NE(end, std::string::npos) << body.substr(at);
    if (end == std::string::npos) break;
    EXPECT_EQ(body.compare(at, 6, "data: "), 0) << body.substr(at, 40);
    frames.push_back(body.substr(at + 6, end - at - 6));
    EXPECT_EQ(frames.back().find('\n'), std::string::npos);
    at = end + 2;
  }
  return frames;
}

TEST_F(Chat, WholeResponse) {
  start_ready();
  engine_.set({.text = "Hello \"you\""});
  const Reply reply = post(port_, "/v1/chat/completions",
                           R"({"model":"alias/one","messages":[{"role":"user","content":"hi"}],
                               "seed":7,"mystery":1})");
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(reply.headers.at("content-type"), "application/json");
  const json body = json::parse(reply.body);
  EXPECT_EQ(body["id"].get<std::string>().rfind("chatcmpl-", 0), 0U);
  EXPECT_EQ(body["object"], "chat.completion");
  EXPECT_EQ(body["model"], "alias/one");
  EXPECT_EQ(body["system_fingerprint"], "fieldprint-0.1.0+test-0123456789ab");
  EXPECT_GT(body["created"], 1700000000);
  EXPECT_EQ(body["choices"][0]["message"]["content"], "Hello \"you\"");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(body["usage"]["total_tokens"], 6);
  EXPECT_EQ(body["fieldprint"]["seeds"], json::array({7}));
  EXPECT_EQ(body["fieldprint"]["ignored_fields"], json::array({"mystery"}));
  EXPECT_EQ(body["fieldprint"]["profile"], "fake/exact");
  EXPECT_TRUE(body["fieldprint"]["anchor"].is_null());
  EXPECT_EQ(joined(engine_.last_request().prompt), "[system:<256>][user:<258>hi][output:<259>]");
  EXPECT_FALSE(engine_.last_request().use_anchor);
}

TEST_F(Chat, NativeRequestIsWhatTheClientSaid) {
  start_ready();
  ASSERT_EQ(post(port_, "/v1/chat/completions",
                 R"({"messages":[{"role":"system","content":"s"},{"role":"user","content":"u"}],
                     "temperature":0.5,"top_p":0.9,"max_tokens":3,"stop":["X"],"n":2,
                     "ignore_eos":true,"logprobs":true,"top_logprobs":4,"seed":5,
                     "logit_bias":{"9":-1}})")
                .status,
            200);
  const GenerationRequest request = engine_.last_request();
  EXPECT_EQ(request.sampling.temperature, 0.5F);
  EXPECT_EQ(request.sampling.top_p, 0.9F);
  EXPECT_EQ(request.sampling.logprobs, 4);
  EXPECT_EQ(request.sampling.seed, 5U);
  ASSERT_EQ(request.sampling.logit_bias.size(), 1U);
  EXPECT_EQ(request.sampling.logit_bias[0].first, 9);
  EXPECT_EQ(request.max_tokens, 3);
  EXPECT_EQ(request.stop, std::vector<std::string>{"X"});
  EXPECT_EQ(request.choices, 2);
  EXPECT_TRUE(request.ignore_eos);
  EXPECT_TRUE(request.deadline.has_value());
  EXPECT_EQ(request.cache_salt, "");
  EXPECT_EQ(joined(request.prompt), "[system:<256>][system:<258>s][user:<258>u][output:<259>]");
}

TEST_F(Chat, WithAnAnchorTheMessagesContinueIt) {
  start();
  ServiceContext service = test_service(engine_);
  service.anchor = AnchorInfo{"sha256:aa", "aria", "gated", "system", 12};
  engine_.set_anchor("sha256:aa");
  server_->set_ready(service);
  const Reply reply = post(port_, "/v1/chat/completions",
                           R"({"messages":[{"role":"system","content":"s"},
                                           {"role":"user","content":"u"}]})");
  const json block = json::parse(reply.body)["fieldprint"];
  EXPECT_EQ(block["anchor"]["digest"], "sha256:aa");
  EXPECT_EQ(block["anchor"]["mode"], "gated");
  EXPECT_EQ(block["attention_mass"]["anchor"], 0.25);
  EXPECT_EQ(joined(engine_.last_request().prompt), "[system:<258>s][user:<258>u][output:<259>]");
  EXPECT_TRUE(engine_.last_request().use_anchor);
  EXPECT_EQ(post(port_, "/v1/completions", R"({"prompt":"a"})").status, 200);
  EXPECT_EQ(joined(engine_.last_request().prompt), "[user:a]");
}

TEST_F(Chat, StreamFramesAreExact) {
  start_ready();
  engine_.set({.text = "Hi"});
  const Reply reply = post(port_, "/v1/chat/completions",
                           R"({"messages":[{"role":"user","content":"hi"}],"stream":true})");
  ASSERT_EQ(reply.status, 200);
  EXPECT_EQ(reply.headers.at("content-type"), "text/event-stream");
  EXPECT_EQ(reply.headers.at("cache-control"), "no-cache");
  EXPECT_EQ(reply.headers.at("x-accel-buffering"), "no");
  const auto frames = frames_of(reply.body);
  ASSERT_EQ(frames.size(), 4U) << reply.body;
  const json first = json::parse(frames[0]);
  EXPECT_EQ(first["object"], "chat.completion.chunk");
  EXPECT_EQ(first["choices"][0]["delta"], json({{"role", "assistant"}, {"content", ""}}));
  EXPECT_EQ(json::parse(frames[1])["choices"][0]["delta"], json({{"content", "Hi"}}));
  const json last = json::parse(frames[2]);
  EXPECT_EQ(last["choices"][0]["delta"], json::object());
  EXPECT_EQ(last["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(last["fieldprint"]["seeds"].size(), 1U);
  EXPECT_FALSE(last.contains("usage"));
  EXPECT_EQ(frames[3], "[DONE]");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(json::parse(frames[i])["id"], first["id"]);
}

TEST_F(Chat, StreamUsageComesJustBeforeDone) {
  start_ready();
  const Reply reply = post(port_, "/v1/chat/completions",
                           R"({"messages":[{"role":"user","content":"hi"}],"stream":true,
                               "stream_options":{"include_usage":true}})");
  const auto frames = frames_of(reply.body);
  ASSERT_GE(frames.size(), 3U);
  const json usage = json::parse(frames[frames.size() - 2]);
  EXPECT_EQ(usage["choices"], json::array());
  EXPECT_EQ(usage["usage"]["completion_tokens"], 4);
  for (std::size_t i = 0; i + 2 < frames.size(); ++i) {
    EXPECT_TRUE(json::parse(frames[i])["usage"].is_null());
  }
}

TEST_F(Chat, StreamOfSeveralChoicesHasOneEvidenceBlockAtTheEnd) {
  start_ready();
  const Reply reply =
      post(port_, "/v1/chat/completions",
           R"({"messages":[{"role":"user","content":"hi"}],"stream":true,"n":3,"seed":1})");
  const auto frames = frames_of(reply.body);
  int roles = 0;
  int finishes = 0;
  int blocks = 0;
  for (std::size_t i = 0; i + 1 < frames.size(); ++i) {
    const json chunk = json::parse(frames[i]);
    roles += chunk["choices"][0]["delta"].contains("role");
    finishes += !chunk["choices"][0]["finish_reason"].is_null();
    blocks += chunk.contains("fieldprint");
  }
  EXPECT_EQ(roles, 3);
  EXPECT_EQ(finishes, 3);
  EXPECT_EQ(blocks, 1);
  EXPECT_EQ(json::parse(frames[frames.size() - 2])["fieldprint"]["seeds"], json::array({1, 2, 3}));
}

TEST_F(Chat, StreamAndWholeSayTheSame) {
  start_ready();
  const std::string tail = R"("messages":[{"role":"user","content":"hi"}],"seed":11,"n":2})";
  const json whole = json::parse(post(port_, "/v1/chat/completions", "{" + tail).body);
  const Reply streamed = post(port_, "/v1/chat/completions", R"({"stream":true,)" + tail);
  std::string text[2];
  for (const std::string& frame : frames_of(streamed.body)) {
    if (frame == "[DONE]") continue;
    const json choice = json::parse(frame)["choices"][0];
    text[choice["index"].get<int>()] += choice["delta"].value("content", "");
  }
  EXPECT_FALSE(text[0].empty());
  EXPECT_EQ(whole["choices"][0]["message"]["content"], text[0]);
  EXPECT_EQ(whole["choices"][1]["message"]["content"], text[1]);
  EXPECT_NE(text[0], text[1]);
}

TEST_F(Chat, ErrorBeforeTheStreamIsAStatus) {
  start_ready();
  engine_.set({.failure = Error{ErrorKind::kUnavailable, "queue_full", "full", ""}});
  const Reply reply = post(port_, "/v1/chat/completions",
                           R"({"messages":[{"role":"user","content":"hi"}],"stream":true})");
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.headers.at("retry-after"), "1");
  EXPECT_EQ(code_of(reply), "queue_full");
}

TEST_F(Chat, ErrorInsideTheStreamIsAnEvent) {
  start_ready();
  engine_.set(
      {.fail_after = 1, .failure = Error{ErrorKind::kExhausted, "kv_exhausted", "no pages", ""}});
  const Reply reply = post(port_, "/v1/chat/completions",
                           R"({"messages":[{"role":"user","content":"hi"}],"stream":true})");
  EXPECT_EQ(reply.status, 200);
  const auto frames = frames_of(reply.body);
  ASSERT_EQ(frames.size(), 4U) << reply.body;
  EXPECT_EQ(frames[2], R"({"error":{"message":"no pages","type":"unavailable_error","param":null,)"
                       R"("code":"kv_exhausted"}})");
  EXPECT_EQ(frames[3], "[DONE]");
}

TEST_F(Chat, EngineErrorsOfWholeResponses) {
  start_ready();
  engine_.set({.fail_after = 1, .failure = Error{ErrorKind::kInternal, "device", "lost", ""}});
  EXPECT_EQ(post(port_, "/v1/chat/completions", kHi).status, 500);
  engine_.set({});
  const std::string longest(600, 'x');
  const Reply reply = post(port_, "/v1/chat/completions",
                           R"({"messages":[{"role":"user","content":")" + longest + R"("}]})");
  EXPECT_EQ(reply.status, 400);
  const json error = json::parse(reply.body)["error"];
  EXPECT_EQ(error["code"], "context_length_exceeded");
  EXPECT_EQ(error["param"], "messages");
  EXPECT_EQ(error["type"], "invalid_request_error");
}

TEST_F(Chat, EngineErrorsNameTheClientsField) {
  start();
  ServiceContext service = test_service(engine_);
  service.anchor = AnchorInfo{"sha256:aa", "aria", "joint", "system", 12};  // so: no BOS
  server_->set_ready(service);
  const auto param = [&](const char* path, const char* body) {
    const Reply reply = post(port_, path, body);
    EXPECT_EQ(reply.status, 400) << body;
    return json::parse(reply.body)["error"]["param"].get<std::string>();
  };
  EXPECT_EQ(param("/v1/completions", R"({"prompt":""})"), "prompt");
  EXPECT_EQ(param("/v1/completions", R"({"prompt":[300]})"), "prompt");
  EXPECT_EQ(param("/v1/completions", R"({"prompt":"a","logit_bias":{"300":1}})"), "logit_bias");
}

TEST_F(Chat, UnknownModel) {
  start_ready();
  const Reply reply = post(port_, "/v1/chat/completions",
                           R"({"model":"gpt-x","messages":[{"role":"user","content":"hi"}]})");
  EXPECT_EQ(reply.status, 404);
  EXPECT_EQ(code_of(reply), "model_not_found");
  EXPECT_EQ(engine_.submitted(), 0);
}

TEST_F(Chat, NoTemplateMeansNoChat) {
  start();
  ServiceContext service = test_service(engine_);
  service.text = std::make_shared<FakeText>(false);
  server_->set_ready(service);
  const Reply reply = post(port_, "/v1/chat/completions", kHi);
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(code_of(reply), "chat_template_missing");
  EXPECT_EQ(post(port_, "/v1/completions", R"({"prompt":"a"})").status, 200);
}

TEST_F(Chat, Completions) {
  start_ready();
  const Reply reply = post(port_, "/v1/completions", R"({"prompt":"ab","max_tokens":2,"seed":3})");
  const json body = json::parse(reply.body);
  EXPECT_EQ(body["id"].get<std::string>().rfind("cmpl-", 0), 0U);
  EXPECT_EQ(body["object"], "text_completion");
  EXPECT_EQ(body["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(joined(engine_.last_request().prompt), "[user:<256>ab]");
  EXPECT_EQ(post(port_, "/v1/completions", R"({"prompt":[97,257]})").status, 200);
  EXPECT_EQ(joined(engine_.last_request().prompt), "[user:a<257>]");
  const auto frames =
      frames_of(post(port_, "/v1/completions", R"({"prompt":"ab","stream":true})").body);
  EXPECT_EQ(json::parse(frames[0])["object"], "text_completion");
  EXPECT_FALSE(json::parse(frames[0])["choices"][0]["text"].get<std::string>().empty());
  EXPECT_EQ(frames.back(), "[DONE]");
}

TEST_F(Chat, AnAbsentSeedIsDrawnAndReported) {
  start_ready();
  const json one = json::parse(post(port_, "/v1/chat/completions", kHi).body)["fieldprint"];
  const json two = json::parse(post(port_, "/v1/chat/completions", kHi).body)["fieldprint"];
  EXPECT_TRUE(one["seeds"][0].is_number_unsigned());
  EXPECT_NE(one["seeds"], two["seeds"]);
}

TEST_F(Chat, KeepAliveServesSeveralRequests) {
  start_ready();
  engine_.set({.text = "done"});
  RawClient client(port_);
  for (int i = 1; i <= 3; ++i) {
    client.send(request_bytes("POST", "/v1/chat/completions",
                              R"({"messages":[{"role":"user","content":"hi"}],"stream":true})",
                              {{"Connection", "keep-alive"}, {"X-Request-Id", std::to_string(i)}}));
    client.read_until("X-Request-Id: " + std::to_string(i));
  }
  client.send(request_bytes("GET", "/livez", ""));
  const std::string& seen = client.read_to_end();
  std::size_t count = 0;
  for (std::size_t at = 0; (at = seen.find("[DONE]", at)) != std::string::npos; ++at) ++count;
  EXPECT_EQ(count, 3U);
}

TEST_F(Chat, Http10ClientsGetAnUnchunkedStream) {
  start_ready();
  engine_.set({.text = "Hi"});
  RawClient client(port_);
  const std::string body = R"({"messages":[{"role":"user","content":"hi"}],"stream":true})";
  client.send(
      "POST /v1/chat/completions HTTP/1.0\r\nContent-Type: application/json\r\n"
      "Content-Length: " +
      std::to_string(body.size()) + "\r\n\r\n" + body);
  const Reply reply = parse_reply(client.read_to_end());
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.headers.count("transfer-encoding") == 0 ||
                reply.headers.at("transfer-encoding").empty(),
            true);
  EXPECT_EQ(frames_of(reply.body).back(), "[DONE]");
}

}  // namespace
}  // namespace fieldprint::testing_http
