// The HTTP server over the scripted engine, for clients in other languages.
//
// usage: fake_server [--anchor] [--pace MS]
// Prints "api <port>" and "ops <port>" and serves until its standard input ends, so
// that it never outlives the test that started it.
#include <charconv>
#include <chrono>
#include <cstdio>
#include <string_view>
#include <thread>

#include "core/log.h"
#include "http/fake_engine.h"
#include "http/server.h"

namespace {

using fieldprint::AnchorInfo;
using fieldprint::Server;
using fieldprint::ServerOptions;
using fieldprint::ServiceContext;
using fieldprint::testing_http::FakeEngine;
using fieldprint::testing_http::FakeText;

struct Arguments {
  bool anchor = false;
  int pace_ms = 0;
};

Arguments parse(int argc, char** argv) {
  Arguments out;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--anchor") out.anchor = true;
    if (word == "--pace" && i + 1 < argc) {
      const std::string_view value = argv[++i];
      std::from_chars(value.data(), value.data() + value.size(), out.pace_ms);
    }
  }
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments = parse(argc, argv);
  fieldprint::log_init({fieldprint::LogLevel::kWarn, fieldprint::LogFormat::kText});
  FakeEngine engine;
  // Every supervised answer breaches once; only who asked for rollbacks gets to see it.
  engine.set(
      {.words = 8, .pace = std::chrono::milliseconds(arguments.pace_ms), .breaches = 1, .keep = 2});
  ServerOptions options;
  options.port = 0;
  options.ops_port = 0;
  options.build_version = "0.1.0+fake";
  auto server = Server::start(options);
  if (!server) {
    std::fprintf(stderr, "%s\n", server.error().message.c_str());
    return 1;
  }
  ServiceContext service;
  service.engine = &engine;
  service.text = std::make_shared<FakeText>();
  service.model_id = "fake-model";
  service.model_digest = "sha256:00";
  if (arguments.anchor) {
    service.anchor = AnchorInfo{"sha256:aa", "aria", "joint", "system", 12};
    engine.set_anchor("sha256:aa");
    engine.set_supervision({true, true, {}});
  }
  (*server)->set_ready(service);
  std::printf("api %d\nops %d\n", (*server)->port(), (*server)->ops_port());
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
  (*server)->stop();
  return 0;
}
