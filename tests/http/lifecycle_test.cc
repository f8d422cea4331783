// Loading, ready, draining, stopping; probes and informational routes.
#include "http/fixture.h"

namespace fieldprint::testing_http {
namespace {

using Lifecycle = ServerTest;

TEST_F(Lifecycle, AnswersWhileLoading) {
  start();
  server_->set_loading_progress(42);
  const Reply reply = post(port_, "/v1/chat/completions", kHi);
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.headers.at("retry-after"), "2");
  const json error = json::parse(reply.body)["error"];
  EXPECT_EQ(error["code"], "model_loading");
  EXPECT_EQ(error["type"], "unavailable_error");
  EXPECT_EQ(error["percent"], 42);
  EXPECT_EQ(get(port_, "/v1/models").status, 503);
  EXPECT_EQ(get(port_, "/health").status, 503);
  EXPECT_EQ(get(port_, "/readyz").status, 503);
  EXPECT_EQ(get(port_, "/livez").status, 200);
  EXPECT_EQ(get(port_, "/metrics").status, 200);
  EXPECT_EQ(get(server_->ops_port(), "/readyz").status, 503);
  EXPECT_EQ(get(server_->ops_port(), "/livez").status, 200);
  EXPECT_EQ(get(port_, "/version").body, R"({"version":"0.1.0+test"})");

  server_->set_ready(test_service(engine_));
  EXPECT_EQ(get(port_, "/health").body, R"({"status":"ok"})");
  EXPECT_EQ(get(server_->ops_port(), "/readyz").status, 200);
  EXPECT_EQ(post(port_, "/v1/chat/completions", kHi).status, 200);
}

TEST_F(Lifecycle, DrainLetsRunningStreamsFinishAndRefusesNewWork) {
  start_ready();
  engine_.set({.words = 2, .stall_after = 1});
  RawClient stream(port_);
  stream.send(request_bytes("POST", "/v1/chat/completions",
                            R"({"messages":[{"role":"user","content":"hi"}],"stream":true})"));
  stream.read_until("\"content\":\"");
  ASSERT_TRUE(eventually([&] { return engine_.running() == 1; }));

  bool finished = false;
  std::thread drainer([&] { finished = server_->drain(std::chrono::seconds(10)); });
  EXPECT_TRUE(eventually([&] { return get(server_->ops_port(), "/readyz").status == 503; }));
  const Reply refused = post(port_, "/v1/chat/completions", kHi);
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(code_of(refused), "draining");
  EXPECT_EQ(refused.headers.at("retry-after"), "5");
  EXPECT_EQ(get(port_, "/v1/models").status, 200);
  EXPECT_EQ(get(port_, "/livez").status, 200);

  engine_.release();
  EXPECT_NE(stream.read_to_end().find("data: [DONE]\n\n"), std::string::npos);
  drainer.join();
  EXPECT_TRUE(finished);
}

TEST_F(Lifecycle, DrainCutsOffWhatDoesNotFinish) {
  start_ready();
  engine_.set({.words = 2, .stall_after = 1});
  RawClient stream(port_);
  stream.send(request_bytes("POST", "/v1/chat/completions",
                            R"({"messages":[{"role":"user","content":"hi"}],"stream":true})"));
  stream.read_until("\"content\":\"");
  EXPECT_FALSE(server_->drain(std::chrono::milliseconds(50)));
  const std::string& seen = stream.read_to_end();
  EXPECT_NE(seen.find("data: {\"error\":{\"message\":\"cut off\""), std::string::npos) << seen;
}

TEST_F(Lifecycle, DrainBeforeTheModelIsThereIsSafe) {
  start();
  EXPECT_TRUE(server_->drain(std::chrono::milliseconds(10)));
  EXPECT_EQ(get(port_, "/v1/models").status, 503);
  EXPECT_EQ(get(port_, "/metrics").status, 200);
  server_->set_ready(test_service(engine_));
  EXPECT_EQ(code_of(post(port_, "/v1/chat/completions", kHi)), "draining");
}

TEST_F(Lifecycle, StopEndsIdleAndBusyConnections) {
  start_ready();
  engine_.set({.words = 2, .stall_after = 0});
  RawClient idle(port_);
  RawClient busy(port_);
  busy.send(request_bytes("POST", "/v1/chat/completions",
                          R"({"messages":[{"role":"user","content":"hi"}],"stream":true})"));
  busy.read_until("\"role\":\"assistant\"");
  server_->stop();
  busy.read_to_end();
  idle.read_to_end();
  EXPECT_TRUE(busy.at_end());
  EXPECT_TRUE(idle.at_end());
  EXPECT_EQ(engine_.running(), 0);
  EXPECT_EQ(engine_.cancelled(), 1);
  server_->stop();
  EXPECT_FALSE(RawClient(port_).connected());
}

TEST_F(Lifecycle, ModelsAndAliases) {
  start_ready();
  const json list = json::parse(get(port_, "/v1/models").body);
  EXPECT_EQ(list["object"], "list");
  ASSERT_EQ(list["data"].size(), 2U);
  EXPECT_EQ(list["data"][0]["id"], "fake-model");
  EXPECT_EQ(list["data"][0]["max_model_len"], 512);
  EXPECT_EQ(list["data"][0]["meta"]["digest"], "sha256:0123456789abcdef0123");
  EXPECT_EQ(list["data"][1]["id"], "alias/one");
  EXPECT_EQ(list["data"][1]["root"], "fake-model");
  EXPECT_EQ(json::parse(get(port_, "/v1/models/alias/one").body)["id"], "alias/one");
  const Reply unknown = get(port_, "/v1/models/other");
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(code_of(unknown), "model_not_found");
}

TEST_F(Lifecycle, TokenizeAndDetokenize) {
  start_ready();
  EXPECT_EQ(post(port_, "/tokenize", R"({"prompt":"ab","return_token_strs":true})").body,
            R"({"count":3,"max_model_len":512,"tokens":[256,97,98],)"
            R"("token_strs":["<256>","a","b"]})");
  EXPECT_EQ(post(port_, "/tokenize", R"({"prompt":"a","add_special_tokens":false})").body,
            R"({"count":1,"max_model_len":512,"tokens":[97]})");
  EXPECT_EQ(post(port_, "/tokenize", R"({"messages":[{"role":"user","content":"a"}]})").body,
            R"({"count":4,"max_model_len":512,"tokens":[256,258,97,259]})");
  EXPECT_EQ(post(port_, "/detokenize", R"({"tokens":[104,105]})").body,
            R"({"prompt":"hi","content":"hi"})");
  EXPECT_EQ(post(port_, "/detokenize", R"({"tokens":[300]})").status, 400);
}

TEST_F(Lifecycle, UnknownRoutesAndMethods) {
  start_ready();
  const Reply missing = get(port_, "/nope");
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(code_of(missing), "route_not_found");
  const Reply method = get(port_, "/v1/completions");
  EXPECT_EQ(method.status, 405);
  EXPECT_EQ(method.headers.at("allow"), "POST");
  EXPECT_EQ(code_of(method), "method_not_allowed");
  EXPECT_EQ(get(server_->ops_port(), "/v1/models").status, 404);
}

TEST_F(Lifecycle, RequestIdIsEchoedOrMade) {
  start_ready();
  EXPECT_EQ(get(port_, "/livez", {{"X-Request-Id", "abc-1.2_3"}}).headers.at("x-request-id"),
            "abc-1.2_3");
  const std::string made = get(port_, "/livez").headers.at("x-request-id");
  EXPECT_EQ(made.rfind("req-", 0), 0U);
  EXPECT_EQ(made.size(), 36U);
  EXPECT_NE(get(port_, "/livez").headers.at("x-request-id"), made);
  EXPECT_EQ(get(port_, "/livez", {{"X-Request-Id", "bad id"}})
                .headers.at("x-request-id")
                .rfind("req-", 0),
            0U);
}

TEST_F(Lifecycle, MetricsTellEngineAndHttp) {
  ServerOptions options = test_options();
  options.vllm_metrics = VllmMetricNames::kOn;
  start_ready(options);
  EXPECT_EQ(post(port_, "/v1/chat/completions", kHi).status, 200);
  EXPECT_EQ(post(port_, "/v1/chat/completions",
                 R"({"messages":[{"role":"user","content":"hi"}],"a":1,"b":2})")
                .status,
            200);
  EXPECT_EQ(post(port_, "/v1/chat/completions", "{}").status, 400);
  EXPECT_EQ(metric("fieldprint_generated_tokens_total"), 8);
  EXPECT_EQ(metric("fieldprint_kv_usage_ratio"), 0.25);
  EXPECT_EQ(metric("fieldprint_ignored_fields_total"), 2);
  EXPECT_EQ(metric("fieldprint_time_to_first_token_seconds_count"), 2);
  EXPECT_EQ(metric("fieldprint_inter_token_seconds_count"), 6);
  EXPECT_EQ(metric("fieldprint_http_rejections_total{code=\"missing_field\"}"), 1);
  EXPECT_EQ(metric("fieldprint_http_generations"), 0);
  EXPECT_EQ(metric("vllm:kv_cache_usage_perc{model_name=\"fake-model\"}"), 0.25);
  EXPECT_EQ(metric("fieldprint_build_info{version=\"0.1.0+test\"}"), 1);
  EXPECT_TRUE(eventually([&] {
    return metric(
               "fieldprint_http_responses_total{route=\"/v1/chat/completions\","
               "status=\"200\"}") == 2;
  }));
}

TEST(ServerStart, RefusesBadOptions) {
  const auto code = [](const std::function<void(ServerOptions&)>& change) {
    ServerOptions options = test_options();
    change(options);
    auto started = Server::start(options);
    return started ? std::string("started") : started.error().code;
  };
  EXPECT_EQ(code([](ServerOptions& o) { o.host = "0.0.0.0"; }), "bind_needs_api_key");
  EXPECT_EQ(code([](ServerOptions& o) { o.host = "::"; }), "bind_needs_api_key");
  EXPECT_EQ(code([](ServerOptions& o) { o.ops_host = "0.0.0.0"; }), "bind_needs_api_key");
  EXPECT_EQ(code([](ServerOptions& o) {
              o.host = "0.0.0.0";
              o.api_keys = {"long-enough-key"};
            }),
            "started");
  EXPECT_EQ(code([](ServerOptions& o) { o.api_keys = {"short"}; }), "api_key_invalid");
  EXPECT_EQ(code([](ServerOptions& o) { o.host = "300.1.1.1"; }), "address_invalid");
  EXPECT_EQ(code([](ServerOptions& o) { o.port = 70000; }), "invalid_option");
  EXPECT_EQ(code([](ServerOptions& o) { o.max_connections = o.max_streams; }), "invalid_option");
}

TEST(ServerStart, SaysThatAPortIsTaken) {
  auto first = Server::start(test_options());
  ASSERT_TRUE(first);
  ServerOptions options = test_options();
  options.port = (*first)->port();
  auto second = Server::start(options);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, "address_in_use");
}

}  // namespace
}  // namespace fieldprint::testing_http
