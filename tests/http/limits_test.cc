// Caps, sizes, timeouts and clients that leave.
#include "http/fixture.h"

namespace fieldprint::testing_http {
namespace {

using Limits = ServerTest;

constexpr const char* kStream = R"({"messages":[{"role":"user","content":"hi"}],"stream":true})";

std::string bytes_of_stream_request() {
  return request_bytes("POST", "/v1/chat/completions", kStream);
}

TEST_F(Limits, ALeavingClientCancelsItsStream) {
  start_ready();
  engine_.set({.words = 3, .stall_after = 1});
  {
    RawClient client(port_);
    client.send(bytes_of_stream_request());
    client.read_until("\"content\":\"");
    ASSERT_EQ(engine_.running(), 1);
  }
  EXPECT_TRUE(eventually([&] { return engine_.cancelled() == 1; }));
  EXPECT_EQ(engine_.running(), 0);
  EXPECT_TRUE(eventually([&] { return metric("fieldprint_http_cancelled_total") == 1; }));
  EXPECT_EQ(metric("fieldprint_http_generations"), 0);
}

TEST_F(Limits, ALeavingClientCancelsItsWholeRequest) {
  start_ready();
  engine_.set({.words = 3, .stall_after = 0});
  {
    RawClient client(port_);
    client.send(request_bytes("POST", "/v1/chat/completions", kHi));
    ASSERT_TRUE(eventually([&] { return engine_.running() == 1; }));
  }
  EXPECT_TRUE(eventually([&] { return engine_.cancelled() == 1; }));
}

TEST_F(Limits, AWholeRequestHasADeadline) {
  ServerOptions options = test_options();
  options.request_deadline = std::chrono::milliseconds(150);
  start_ready(options);
  engine_.set({.words = 3, .stall_after = 0});
  const Reply reply = post(port_, "/v1/chat/completions", kHi);
  EXPECT_EQ(reply.status, 408);
  EXPECT_EQ(code_of(reply), "deadline_exceeded");
  EXPECT_EQ(engine_.cancelled(), 1);
}

TEST_F(Limits, SilenceIsFilledWithPings) {
  ServerOptions options = test_options();
  options.ping_interval = std::chrono::milliseconds(20);
  start_ready(options);
  engine_.set({.words = 2, .stall_after = 1});
  RawClient client(port_);
  client.send(bytes_of_stream_request());
  client.read_until(": ping\n\n");
  engine_.release();
  const std::string body = parse_reply(client.read_to_end()).body;
  EXPECT_NE(body.find("}\n\n: ping\n\n"), std::string::npos) << body;
  EXPECT_NE(body.find("data: [DONE]\n\n"), std::string::npos);
}

TEST_F(Limits, StreamsOverTheCapAreRefusedAndThePlaceComesBack) {
  start_ready();  // four places
  engine_.set({.words = 2, .stall_after = 1});
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(std::make_unique<RawClient>(port_));
    clients.back()->send(bytes_of_stream_request());
    clients.back()->read_until("\"content\":\"");
  }
  const Reply refused = post(port_, "/v1/chat/completions", kHi);
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(code_of(refused), "server_busy");
  EXPECT_EQ(refused.headers.at("retry-after"), "1");
  EXPECT_EQ(get(port_, "/health").status, 200);
  engine_.set({});
  engine_.release();
  for (const auto& client : clients) {
    EXPECT_NE(client->read_to_end().find("[DONE]"), std::string::npos);
  }
  EXPECT_TRUE(eventually([&] { return post(port_, "/v1/chat/completions", kHi).status == 200; }));
}

TEST_F(Limits, ConnectionsOverTheCapGetA503AndProbesStillAnswer) {
  ServerOptions options = test_options();
  options.max_connections = 8;
  start_ready(options);
  std::vector<std::unique_ptr<RawClient>> idle;
  for (int i = 0; i < 8; ++i) idle.push_back(std::make_unique<RawClient>(port_));
  ASSERT_TRUE(eventually([&] { return metric("fieldprint_http_connections") == 8; }));
  for (int i = 0; i < 20; ++i) {  // the refusing thread serves one after the other
    const Reply refused = get(port_, "/livez");
    EXPECT_EQ(refused.status, 503);
    EXPECT_EQ(code_of(refused), "too_many_connections");
    EXPECT_EQ(refused.headers.at("retry-after"), "1");
  }
  EXPECT_EQ(metric("fieldprint_http_connections_refused_total"), 20);
  EXPECT_EQ(get(server_->ops_port(), "/readyz").status, 200);
  idle.clear();
  EXPECT_TRUE(eventually([&] { return get(port_, "/livez").status == 200; }));
}

TEST_F(Limits, ProbesAnswerWhileManyStreamsRun) {
  ServerOptions options = test_options();
  options.max_streams = 48;
  options.max_connections = 64;
  start_ready(options);
  engine_.set({.words = 2, .stall_after = 1});
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 48; ++i) {
    clients.push_back(std::make_unique<RawClient>(port_));
    clients.back()->send(bytes_of_stream_request());
  }
  for (const auto& client : clients) client->read_until("\"content\":\"");
  EXPECT_EQ(get(port_, "/health").status, 200);
  EXPECT_EQ(metric("fieldprint_requests_running"), 48);
  engine_.release();
  for (const auto& client : clients) {
    EXPECT_NE(client->read_to_end().find("[DONE]"), std::string::npos);
  }
}

TEST_F(Limits, BodySizes) {
  ServerOptions options = test_options();
  options.max_body_bytes = 2048;
  start_ready(options);
  const std::string big = R"({"x":")" + std::string(4000, 'a') + R"("})";
  const Reply declared = post(port_, "/v1/chat/completions", big);
  EXPECT_EQ(declared.status, 413);
  EXPECT_EQ(code_of(declared), "body_too_large");
  // Chunked: the size is not declared.
  RawClient chunked(port_);
  chunked.send(
      "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
      "application/json\r\nTransfer-Encoding: chunked\r\n\r\nfa0\r\n" +
      std::string(4000, 'a') + "\r\n0\r\n\r\n");
  const Reply reply = parse_reply(chunked.read_until("}}"));
  EXPECT_EQ(reply.status, 413) << reply.body;
}

TEST_F(Limits, AnEndlessChunkedBodyIsCutOff) {
  ServerOptions options = test_options();
  options.max_body_bytes = 2048;
  start_ready(options);
  RawClient client(port_);
  client.send(
      "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
      "application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
  const std::string chunk = "1000\r\n" + std::string(4096, ' ') + "\r\n";
  for (int i = 0; i < 2000; ++i) client.send(chunk);  // 8 MiB against 66 KiB
  client.read_to_end();
  EXPECT_TRUE(client.at_end());
  EXPECT_EQ(engine_.submitted(), 0);
  EXPECT_EQ(get(port_, "/livez").status, 200);
}

TEST_F(Limits, ShapesThatAreRefused) {
  start_ready();
  EXPECT_EQ(code_of(post(port_, "/v1/chat/completions", kHi,
                         {{"Content-Type", "application/x-www-form-urlencoded"}})),
            "content_type_invalid");
  EXPECT_EQ(code_of(post(port_, "/v1/chat/completions", kHi, {{"Content-Type", ""}})),
            "content_type_invalid");
  EXPECT_EQ(post(port_, "/v1/chat/completions", kHi,
                 {{"Content-Type", "application/json; charset=utf-8"}})
                .status,
            200);
  EXPECT_EQ(code_of(post(port_, "/v1/chat/completions", kHi, {{"Content-Encoding", "gzip"}})),
            "encoding_not_supported");
  EXPECT_EQ(code_of(get(port_, "/" + std::string(2000, 'a'))), "target_too_long");
  EXPECT_EQ(get(port_, "/livez", {{"Range", "bytes=0-1,0-1"}}).body, R"({"status":"ok"})");
  EXPECT_EQ(code_of(post(port_, "/v1/chat/completions", "{\"messages\":\"\xFF\"}")),
            "invalid_utf8");
}

TEST_F(Limits, ASlowRequestTimesOut) {
  ServerOptions options = test_options();
  options.read_timeout = std::chrono::milliseconds(100);
  start_ready(options);
  RawClient client(port_);
  client.send("POST /v1/chat/completions HTTP/1.1\r\nHost: local");
  client.read_to_end();
  EXPECT_TRUE(client.at_end());
  EXPECT_TRUE(eventually([&] { return metric("fieldprint_http_connections") == 0; }));
}

TEST_F(Limits, GarbageDoesNotHurt) {
  start_ready();
  for (const std::string& garbage :
       {std::string("\r\n\r\n\r\n"), std::string("GET\r\n\r\n"), std::string(100, '\0'),
        std::string("POST /v1/chat/completions HTTP/1.1\r\nContent-Length: -5\r\n\r\n"),
        std::string("GET /%zz%00 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        std::string("GET / HTTP/9.9\r\nHost: localhost\r\n\r\n")}) {
    RawClient client(port_);
    client.send(garbage);
    client.close();
  }
  EXPECT_EQ(get(port_, "/livez").status, 200);
  EXPECT_TRUE(eventually([&] { return metric("fieldprint_http_connections") == 0; }));
}

}  // namespace
}  // namespace fieldprint::testing_http
