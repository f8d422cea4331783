// A running server over a FakeEngine, on free loopback ports.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "core/log.h"
#include "http/fake_engine.h"
#include "http/raw_client.h"
#include "http/server.h"

namespace fieldprint::testing_http {

using nlohmann::json;

inline ServerOptions test_options() {
  ServerOptions options;
  options.port = 0;
  options.ops_port = 0;
  options.max_streams = 4;
  // Far more than a test opens: closed connections are counted until their threads notice.
  options.max_connections = 64;
  options.metrics_max_age = std::chrono::milliseconds(0);
  options.build_version = "0.1.0+test";
  return options;
}

inline ServiceContext test_service(FakeEngine& engine) {
  ServiceContext service;
  service.engine = &engine;
  service.text = std::make_shared<FakeText>();
  service.model_id = "fake-model";
  service.aliases = {"alias/one"};
  service.model_digest = "sha256:0123456789abcdef0123";
  service.created = 1700000000;
  return service;
}

constexpr const char* kHi = R"({"messages":[{"role":"user","content":"hi"}]})";

// One answer of each kind. cpp-httplib keeps constants in function-local statics; the first
// caller takes their guards in libstdc++, where ThreadSanitizer sees it, all later ones inline
// in the library, where it does not. What one thread made before any other ran is no race.
inline void warm_up_library() {
  FakeEngine engine;
  auto server = Server::start(test_options());
  ASSERT_TRUE(server) << server.error().message;
  (*server)->set_ready(test_service(engine));
  (void)get((*server)->port(), "/livez");
  (void)post((*server)->port(), "/v1/chat/completions", kHi);
  (void)post((*server)->port(), "/v1/chat/completions",
             R"({"messages":[{"role":"user","content":"hi"}],"stream":true})");
}

class ServerTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    log_init({LogLevel::kError, LogFormat::kText});
#ifdef __SANITIZE_THREAD__
    warm_up_library();
#endif
  }

  void start(const ServerOptions& options = test_options()) {
    auto started = Server::start(options);
    ASSERT_TRUE(started) << started.error().message;
    server_ = std::move(*started);
    port_ = server_->port();
  }
  void start_ready(const ServerOptions& options = test_options()) {
    start(options);
    server_->set_ready(test_service(engine_));
  }
  // Polls until the condition holds; false after ten seconds.
  static bool eventually(const std::function<bool()>& condition) {
    for (int i = 0; i < 1000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }
  static std::string code_of(const Reply& reply) {
    const json body = json::parse(reply.body, nullptr, false);
    return body.is_object() && body.contains("error") ? body["error"].value("code", "") : "";
  }
  double metric(const std::string& sample) {
    const std::string text = "\n" + get(server_->ops_port(), "/metrics").body;
    const std::size_t at = text.find("\n" + sample + " ");
    return at == std::string::npos ? -1.0 : std::stod(text.substr(at + sample.size() + 2));
  }

  FakeEngine engine_;  // outlives the server
  std::unique_ptr<Server> server_;
  int port_ = 0;
};

}  // namespace fieldprint::testing_http
