#include "app/config/command_line.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace fieldprint::app {
namespace {

using Args = std::vector<std::string>;

TEST(CommandLine, CommandsAndPositionals) {
  EXPECT_EQ(parse_command_line(Args{})->command, Command::kHelp);
  EXPECT_EQ(parse_command_line(Args{"--help"})->command, Command::kHelp);
  EXPECT_EQ(parse_command_line(Args{"-v"})->command, Command::kVersion);
  EXPECT_TRUE(parse_command_line(Args{"serve", "-h"})->help);
  EXPECT_EQ(parse_command_line(Args{"anchor", "show", "d"})->command, Command::kAnchorShow);
  EXPECT_EQ(parse_command_line(Args{"complete", "-n", "3", "Hi"})->positionals, Args{"Hi"});
  EXPECT_EQ(parse_command_line(Args{"complete", "--", "--port"})->positionals, Args{"--port"});
  EXPECT_EQ(parse_command_line(Args{"complete", "-"})->positionals, Args{"-"});
}

TEST(CommandLine, FlagsInEverySpelling) {
  for (const Args& args : {Args{"serve", "-m", "x", "--prefix-cache"},
                           Args{"serve", "--model=x", "--prefix-cache=true"},
                           Args{"serve", "--prefix-cache", "--model", "x"}}) {
    const Result<CommandLine> line = parse_command_line(args);
    ASSERT_TRUE(line.has_value()) << line.error().message;
    EXPECT_EQ(line->flags.at("model").items, Args{"x"});
    EXPECT_EQ(line->flags.at("prefix-cache").items, Args{"true"});
  }
  const Result<CommandLine> off = parse_command_line(Args{"serve", "--no-prefix-cache"});
  EXPECT_EQ(off->flags.at("prefix-cache").items, Args{"false"});
  const Result<CommandLine> twice = parse_command_line(Args{"serve", "-m", "x", "-m", "y"});
  EXPECT_EQ(twice->flags.at("model").items, Args{"y"});
  const Result<CommandLine> negative = parse_command_line(Args{"run", "--beta", "-1.5"});
  ASSERT_TRUE(negative.has_value()) << negative.error().message;
  EXPECT_EQ(negative->flags.at("beta").items, Args{"-1.5"});
}

struct BadLine {
  Args args;
  const char* code;
  const char* in_message;
};

TEST(CommandLine, RefusalsAreNamed) {
  const BadLine cases[] = {
      {{"sevre"}, "unknown_command", "did you mean 'serve'?"},
      {{"anchor"}, "unknown_command", "'anchor' needs one of compile, calibrate, show"},
      {{"ledger", "--json"}, "unknown_command", "'ledger' needs one of"},
      {{"--helpp"}, "unknown_command", "--helpp"},
      {{"anchor", "shw"}, "unknown_command", "did you mean 'anchor show'?"},
      {{"serve", "--prot", "1"}, "unknown_flag", "did you mean --port?"},
      {{"serve", "--qqqqqqqqqqqq"}, "unknown_flag", "fieldprint help serve"},
      {{"serve", "--api-key", "k"}, "unknown_flag", "did you mean --api-key-file?"},
      {{"run", "--port", "1"}, "unknown_flag", "--port"},
      {{"serve", "extra"}, "unexpected_argument", "extra"},
      {{"complete", "a", "b"}, "unexpected_argument", "b"},
      {{"serve", "--port"}, "missing_value", "--port"},
  };
  for (const BadLine& c : cases) {
    const Result<CommandLine> line = parse_command_line(c.args);
    ASSERT_FALSE(line.has_value()) << c.args[0];
    EXPECT_EQ(line.error().code, c.code) << line.error().message;
    EXPECT_NE(line.error().message.find(c.in_message), std::string::npos) << line.error().message;
    EXPECT_EQ(line.error().message.find('\n'), std::string::npos);
    EXPECT_EQ(exit_code(line.error()), 2);
  }
  EXPECT_EQ(parse_command_line(Args(2000, "x")).error().code, "too_many_arguments");
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// Compares with a file of the checkout; FIELDPRINT_TEST_UPDATE=1 rewrites it instead.
void expect_golden(const std::string& path, const std::string& text) {
  const std::string full = std::string(FIELDPRINT_SOURCE_DIR) + "/" + path;
  if (std::getenv("FIELDPRINT_TEST_UPDATE") != nullptr) std::ofstream(full) << text;
  EXPECT_EQ(read_file(full), text) << path << ": run with FIELDPRINT_TEST_UPDATE=1 to rewrite";
}

TEST(Help, TextIsGolden) {
  expect_golden("tests/app/golden/help.txt", help_overview());
  expect_golden("tests/app/golden/help_serve.txt", help_command(Command::kServe));
  expect_golden("tests/app/golden/help_bench.txt", help_command(Command::kBench));
}

TEST(Help, AGroupListsItsCommands) {
  const Result<CommandLine> line = parse_command_line(Args{"anchor", "--help"});
  ASSERT_TRUE(line.has_value()) << line.error().message;
  EXPECT_EQ(line->command, Command::kHelp);
  ASSERT_EQ(line->positionals, Args{"anchor"});
  const std::string help = help_group("anchor");
  for (const char* name : {"  anchor init ", "  anchor revoke ", "help anchor COMMAND"})
    EXPECT_NE(help.find(name), std::string::npos) << help;
  EXPECT_EQ(help.find("  ledger show"), std::string::npos);
  EXPECT_EQ(help_group("serve"), "");
  EXPECT_EQ(help_group("anch"), "");
  EXPECT_EQ(help_group(""), "");
}

TEST(Help, EveryCommandShowsItsFlagsAndExamples) {
  for (const CommandSpec& spec : command_table()) {
    const std::string help = help_command(spec.id);
    for (const OptionSpec* option : options_of(spec.id)) {
      const bool env_only = option->sources == OptionSources::kEnvOnly;
      EXPECT_NE(help.find(env_only ? env_name(*option) : std::string("--") + option->name),
                std::string::npos);
    }
    EXPECT_NE(help.find("examples:\n  fieldprint " + std::string(spec.name)), std::string::npos);
  }
}

// Every example of the help is a command line that parses.
TEST(Help, ExamplesParse) {
  for (const CommandSpec& spec : command_table()) {
    std::istringstream lines(spec.examples);
    for (std::string line; std::getline(lines, line);) {
      std::string command = line.substr(line.find("fieldprint ") + 11);
      command = command.substr(0, command.find(" <"));
      Args args;
      bool quoted = false;
      bool open = false;
      for (const char c : command) {
        if (c == '\'') quoted = !quoted;
        if (c == ' ' && !quoted) {
          open = false;
        } else {
          if (!open) args.emplace_back();
          open = true;
          if (c != '\'') args.back() += c;
        }
      }
      const Result<CommandLine> parsed = parse_command_line(args);
      ASSERT_TRUE(parsed.has_value()) << line << ": " << parsed.error().message;
      EXPECT_EQ(parsed->command, spec.id) << line;
    }
  }
}

TEST(Docs, CliPageHoldsTheTable) {
  const std::string path = "docs/cli.md";
  const std::string begin = "<!-- generated from app/config/option_table.cc: begin -->\n";
  const std::string end = "<!-- generated: end -->\n";
  const std::string page = read_file(std::string(FIELDPRINT_SOURCE_DIR) + "/" + path);
  const std::size_t from = page.find(begin);
  const std::size_t to = page.find(end);
  ASSERT_NE(from, std::string::npos);
  ASSERT_NE(to, std::string::npos);
  expect_golden(path, page.substr(0, from + begin.size()) + help_markdown() + page.substr(to));
}

}  // namespace
}  // namespace fieldprint::app
