// API keys, hosts and origins.
#include "http/auth.h"

#include <sys/stat.h>

#include <cstdio>
#include <fstream>

#include "http/fixture.h"
#include "http/ids.h"
#include "http/origin.h"

namespace fieldprint::testing_http {
namespace {

TEST(Authenticator, FindsTheKeyInEitherHeader) {
  const Authenticator auth({"first-key-1", "second-key-22"});
  EXPECT_EQ(auth.match("Bearer first-key-1", ""), 0U);
  EXPECT_EQ(auth.match("bearer   second-key-22 ", ""), 1U);
  EXPECT_EQ(auth.match("", "second-key-22"), 1U);
  EXPECT_FALSE(auth.match("", "").has_value());
  EXPECT_FALSE(auth.match("Bearer ", "").has_value());
  EXPECT_FALSE(auth.match("Bearer first-key-", "").has_value());
  EXPECT_FALSE(auth.match("Bearer first-key-11", "").has_value());
  EXPECT_FALSE(auth.match("Bearer first-key-1first-key-1", "").has_value());
  EXPECT_FALSE(auth.match("Basic first-key-1", "").has_value());
  EXPECT_FALSE(auth.match("first-key-1", "").has_value());
  EXPECT_FALSE(Authenticator({}).match("Bearer x", "x").has_value());
}

TEST(ApiKeys, ListsAndFiles) {
  EXPECT_EQ(parse_api_keys("aaaaaaaa, bbbbbbbb").value(),
            (std::vector<std::string>{"aaaaaaaa", "bbbbbbbb"}));
  EXPECT_EQ(parse_api_keys("").error().code, "api_key_invalid");
  EXPECT_EQ(parse_api_keys("short").error().code, "api_key_invalid");
  EXPECT_EQ(parse_api_keys("with space in").error().code, "api_key_invalid");

  const std::string path = ::testing::TempDir() + "/fieldprint_keys_test";
  std::ofstream(path) << "# keys\n\naaaaaaaa\r\n  bbbbbbbb\n";
  ::chmod(path.c_str(), 0600);
  EXPECT_EQ(load_api_keys(path).value(), (std::vector<std::string>{"aaaaaaaa", "bbbbbbbb"}));
  ::chmod(path.c_str(), 0640);
  EXPECT_EQ(load_api_keys(path).error().code, "api_key_file_mode");
  std::remove(path.c_str());
  EXPECT_EQ(load_api_keys(path).error().code, "api_key_file_missing");
}

TEST(OriginPolicy, LocalPagesOnlyByDefault) {
  const OriginPolicy policy({"https://chat.example"}, HostRule::kLoopbackOnly);
  EXPECT_TRUE(policy.allows_origin("http://localhost:3000", "localhost:8080"));
  EXPECT_TRUE(policy.allows_origin("https://127.0.0.1", "localhost:8080"));
  EXPECT_TRUE(policy.allows_origin("http://[::1]:5173", "localhost:8080"));
  EXPECT_TRUE(policy.allows_origin("https://chat.example", "localhost:8080"));
  EXPECT_FALSE(policy.allows_origin("https://chat.example.evil", "localhost:8080"));
  EXPECT_FALSE(policy.allows_origin("http://localhost.evil.example", "localhost:8080"));
  EXPECT_FALSE(policy.allows_origin("http://evil-localhost", "localhost:8080"));
  EXPECT_FALSE(policy.allows_origin("http://localhost:80:80", "localhost:8080"));
  EXPECT_FALSE(policy.allows_origin("http://localhost/", "localhost:8080"));
  EXPECT_FALSE(policy.allows_origin("null", "localhost:8080"));
  EXPECT_TRUE(policy.allows_host("localhost:8080"));
  EXPECT_TRUE(policy.allows_host("[::1]"));
  EXPECT_TRUE(policy.allows_host("LOCALHOST"));
  EXPECT_TRUE(policy.allows_host(""));
  EXPECT_FALSE(policy.allows_host("rebound.example:8080"));
  const OriginPolicy open({}, HostRule::kAny);
  EXPECT_TRUE(open.allows_host("box.example"));
  EXPECT_TRUE(open.allows_origin("http://box.example:8080", "box.example:8080"));
  EXPECT_FALSE(open.allows_origin("http://other.example:8080", "box.example:8080"));
}

TEST(Ids, OnlySafeRequestIdsAreEchoed) {
  EXPECT_TRUE(valid_request_id("a-B_9."));
  EXPECT_FALSE(valid_request_id(""));
  EXPECT_FALSE(valid_request_id("a\nb"));
  EXPECT_FALSE(valid_request_id(std::string(129, 'a')));
  EXPECT_LT(draw_seed(), 1ULL << 53);
}

class AuthHttp : public ServerTest {
 protected:
  void SetUp() override {
    ServerOptions options = test_options();
    options.api_keys = {"key-number-one", "key-number-two"};
    start_ready(options);
  }
};

TEST_F(AuthHttp, EverythingButProbesNeedsAKey) {
  const Reply refused = post(port_, "/v1/chat/completions", kHi);
  EXPECT_EQ(refused.status, 401);
  EXPECT_EQ(code_of(refused), "invalid_api_key");
  EXPECT_EQ(refused.headers.at("www-authenticate"), "Bearer");
  for (const char* path :
       {"/v1/models", "/v1/models/fake-model", "/metrics", "/version", "/nope"}) {
    EXPECT_EQ(get(port_, path).status, 401) << path;
  }
  EXPECT_EQ(post(port_, "/tokenize", R"({"prompt":"a"})").status, 401);
  for (const char* path : {"/health", "/livez", "/readyz"}) {
    EXPECT_EQ(get(port_, path).status, 200) << path;
  }
  EXPECT_EQ(get(server_->ops_port(), "/metrics").status, 401);
  EXPECT_EQ(get(server_->ops_port(), "/livez").status, 200);
  EXPECT_EQ(
      post(port_, "/v1/chat/completions", kHi, {{"Authorization", "Bearer key-number-one"}}).status,
      200);
  EXPECT_EQ(post(port_, "/v1/chat/completions", kHi, {{"X-Api-Key", "key-number-two"}}).status,
            200);
  EXPECT_EQ(post(port_, "/v1/chat/completions", kHi, {{"X-Api-Key", "key-number-thr"}}).status,
            401);
}

TEST_F(AuthHttp, RefusalComesBeforeTheBodyIsRead) {
  RawClient client(port_);
  client.send(
      "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
      "Content-Length: 1000000\r\n\r\n{");
  const Reply reply = parse_reply(client.read_until("}}"));
  EXPECT_EQ(reply.status, 401);
  EXPECT_EQ(reply.headers.at("connection"), "close");
}

TEST_F(AuthHttp, TenantsDoNotShareTheCache) {
  const std::string salted = R"({"prompt":"a","cache_salt":"s"})";
  const auto salt = [&](const std::string& key, const std::string& body) {
    EXPECT_EQ(post(port_, "/v1/completions", body, {{"X-Api-Key", key}}).status, 200);
    return engine_.last_request().cache_salt;
  };
  const std::string plain = R"({"prompt":"a"})";
  EXPECT_EQ(salt("key-number-one", plain), salt("key-number-one", plain));
  EXPECT_NE(salt("key-number-one", plain), salt("key-number-two", plain));
  EXPECT_NE(salt("key-number-one", salted), salt("key-number-two", salted));
  EXPECT_NE(salt("key-number-one", salted), salt("key-number-one", plain));
}

using Browser = ServerTest;

TEST_F(Browser, PreflightAndHeadersForLocalPages) {
  start_ready();
  RawClient client(port_);
  client.send(request_bytes(
      "OPTIONS", "/v1/chat/completions", "",
      {{"Origin", "http://localhost:3000"}, {"Access-Control-Request-Method", "POST"}}));
  const Reply preflight = parse_reply(client.read_to_end());
  EXPECT_EQ(preflight.status, 204);
  EXPECT_EQ(preflight.headers.at("access-control-allow-origin"), "http://localhost:3000");
  EXPECT_EQ(preflight.headers.at("access-control-allow-headers"),
            "Authorization, Content-Type, X-Api-Key, X-Request-Id");
  EXPECT_EQ(preflight.headers.count("access-control-allow-credentials"), 0U);
  const Reply reply =
      post(port_, "/v1/chat/completions", kHi, {{"Origin", "http://localhost:3000"}});
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.headers.at("access-control-allow-origin"), "http://localhost:3000");
  EXPECT_EQ(reply.headers.at("vary"), "Origin");
}

TEST_F(Browser, ForeignPagesAndReboundNamesAreRefused) {
  start_ready();
  const Reply foreign =
      post(port_, "/v1/chat/completions", kHi, {{"Origin", "https://evil.example"}});
  EXPECT_EQ(foreign.status, 403);
  EXPECT_EQ(code_of(foreign), "origin_not_allowed");
  EXPECT_EQ(foreign.headers.count("access-control-allow-origin"), 0U);
  const Reply rebound = get(port_, "/v1/models", {{"Host", "evil.example:8080"}});
  EXPECT_EQ(rebound.status, 403);
  EXPECT_EQ(code_of(rebound), "host_not_allowed");
  EXPECT_EQ(engine_.submitted(), 0);
}

}  // namespace
}  // namespace fieldprint::testing_http
