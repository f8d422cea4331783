#include "app/config/settings.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "app/config/command_line.h"

namespace fieldprint::app {
namespace {

Layer env_layer(std::map<std::string, std::string> variables) {
  return environment_layer([&](const char* name) -> const char* {
    const auto slot = variables.find(name);
    return slot == variables.end() ? nullptr : slot->second.c_str();
  });
}

CommandLine parse(std::vector<std::string> args) {
  Result<CommandLine> line = parse_command_line(args);
  EXPECT_TRUE(line.has_value()) << (line ? "" : line.error().message);
  return line ? *line : CommandLine{};
}

TEST(Settings, PrecedenceIsFlagEnvironmentFileDefault) {
  const Layer file = *toml_layer("[server]\nport = 1\nhost = \"::1\"\nops_port = 4\n", "f.toml");
  const Layer env = env_layer({{"FIELDPRINT_PORT", "2"}, {"FIELDPRINT_HOST", "localhost"}});
  const Layer flags = parse({"serve", "--port", "3"}).flags;
  const Result<Settings> settings = merge_settings(Command::kServe, {file, env, flags});
  ASSERT_TRUE(settings.has_value());
  EXPECT_EQ(settings->integer("port"), 3);
  EXPECT_EQ(settings->origin("port"), Origin::kFlag);
  EXPECT_EQ(settings->text("host"), "localhost");
  EXPECT_EQ(settings->origin("host"), Origin::kEnvironment);
  EXPECT_EQ(settings->integer("ops-port"), 4);
  EXPECT_EQ(settings->all().at("ops-port").where, "f.toml:4");
  EXPECT_EQ(settings->integer("max-queue"), 256);
  EXPECT_FALSE(settings->given("max-queue"));
}

TEST(Settings, OneFileServesAllCommands) {
  const Layer file = *toml_layer("[server]\nport = 9\n[engine]\nthreads = 3\n", "f.toml");
  const Result<Settings> settings = merge_settings(Command::kRun, {file});
  ASSERT_TRUE(settings.has_value());
  EXPECT_EQ(settings->integer("threads"), 3);
  EXPECT_EQ(settings->all().count("port"), 0U);
}

TEST(Settings, AWrongValueNamesItsSource) {
  for (const Layer& layer : {env_layer({{"FIELDPRINT_THREADS", "many"}}),
                             *toml_layer("[engine]\nthreads = -1\n", "FIELDPRINT_THREADS")}) {
    const Result<Settings> settings = merge_settings(Command::kRun, {layer});
    ASSERT_FALSE(settings.has_value());
    EXPECT_EQ(settings.error().code, "option_value");
    EXPECT_NE(settings.error().message.find("FIELDPRINT_THREADS"), std::string::npos);
  }
}

TEST(Settings, ListsComeFromFlagsEnvironmentAndToml) {
  const auto stops = [](const Layer& layer) {
    return merge_settings(Command::kComplete, {layer})->list("stop");
  };
  const std::vector<std::string> two{"a", "b"};
  EXPECT_EQ(stops(parse({"complete", "--stop", "a", "--stop", "b"}).flags), two);
  EXPECT_EQ(stops(env_layer({{"FIELDPRINT_STOP", "a,b"}})), two);
  EXPECT_EQ(stops(*toml_layer("[sampling]\nstop = [\"a\", \"b\"]\n", "f")), two);
  const Layer bench = parse({"bench", "-d", "0,2048", "-np", "8"}).flags;
  const Result<Settings> settings = merge_settings(Command::kBench, {bench});
  EXPECT_EQ(settings->integers("depth"), (std::vector<std::int32_t>{0, 2048}));
  EXPECT_EQ(settings->integers("parallel"), std::vector<std::int32_t>{8});
}

struct TomlCase {
  const char* toml;
  const char* code;
  const char* in_message;
};

TEST(Toml, RefusalsAreNamed) {
  const TomlCase cases[] = {
      {"[server]\nprot = 1\n", "config_unknown_key", "did you mean 'server.port'?"},
      {"[sever]\nport = 1\n", "config_unknown_key", "sever"},
      {"port = 1\n", "config_unknown_key", "port"},
      {"[server.deep]\nport = 1\n", "config_unknown_key", "server.deep"},
      {"[server]\napi_key = \"k\"\n", "config_unknown_key", "server.api_key"},
      {"[server]\nport = \"80\"\n", "config_type", "whole number"},
      {"[server]\nport = 80.5\n", "config_type", "whole number"},
      {"[server]\nport = [80]\n", "config_type", "whole number"},
      {"[server]\ncors_origins = [1]\n", "config_type", "list of strings"},
      {"[engine]\nprefix_cache = 1\n", "config_type", "true or false"},
      {"[server\nport = 1\n", "config_syntax", "f.toml:1"},
      {"[server]\nport = 1\nport = 2\n", "config_syntax", "f.toml:3"},
      {"x = \"\xff\"\n", "config_syntax", "f.toml:1"},
  };
  for (const TomlCase& c : cases) {
    const Result<Layer> layer = toml_layer(c.toml, "f.toml");
    ASSERT_FALSE(layer.has_value()) << c.toml;
    EXPECT_EQ(layer.error().code, c.code) << c.toml;
    EXPECT_NE(layer.error().message.find(c.in_message), std::string::npos) << layer.error().message;
  }
}

TEST(Toml, SizeAndDepthAreLimited) {
  const std::string large(std::size_t{1} << 20, '#');
  EXPECT_TRUE(toml_layer(large, "f").has_value());
  EXPECT_EQ(toml_layer(large + "#", "f").error().code, "config_too_large");
  const std::string deep = "x = " + std::string(100000, '[');
  EXPECT_EQ(toml_layer(deep, "f").error().code, "config_syntax");
}

TEST(Toml, FilesThatAreNoFilesAreRefused) {
  EXPECT_EQ(toml_file_layer("/nonexistent.toml").error().code, "config_missing");
  EXPECT_EQ(toml_file_layer("/").error().code, "config_missing");
  EXPECT_EQ(toml_file_layer("/dev/zero").error().code, "config_missing");
}

TEST(PrintConfig, CanBeReadBackAndHidesSecrets) {
  const Layer env = env_layer({{"FIELDPRINT_API_KEY", "sk-0123456789abcdef"},
                               {"FIELDPRINT_MODEL", "a \"b\"\n.gguf"},
                               {"FIELDPRINT_GAMMA", "1"}});
  const Result<Settings> settings = merge_settings(Command::kServe, {env});
  ASSERT_TRUE(settings.has_value());
  const std::string page = print_config(Command::kServe, *settings);
  EXPECT_EQ(page.find("sk-0123456789"), std::string::npos);
  EXPECT_NE(page.find("****cdef"), std::string::npos);
  EXPECT_NE(page.find("# FIELDPRINT_MODEL"), std::string::npos);
  const Result<Layer> again = toml_layer(page, "printed");
  ASSERT_TRUE(again.has_value()) << again.error().message << "\n" << page;
  const Result<Settings> merged = merge_settings(Command::kServe, {*again});
  ASSERT_TRUE(merged.has_value());
  for (const auto& [name, setting] : settings->all()) {
    if (name == "api-key") continue;
    EXPECT_EQ(setting.items, merged->all().at(name).items) << name;
  }
}

TEST(Environment, UnknownNamesAreReported) {
  const char* environment[] = {"HOME=/",
                               "FIELDPRINT_TREADS=2",
                               "FIELDPRINT_PORT=1",
                               "FIELDPRINT_TEST_MODEL=x",
                               "FIELDPRINT_JOBS=2",
                               "FIELDPRINT_CONFIG=x",
                               nullptr};
  const std::vector<std::string> unknown = unknown_environment(environment);
  ASSERT_EQ(unknown.size(), 1U);
  EXPECT_EQ(unknown[0], "FIELDPRINT_TREADS, did you mean FIELDPRINT_THREADS?");
}

}  // namespace
}  // namespace fieldprint::app
