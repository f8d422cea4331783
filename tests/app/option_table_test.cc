// The table itself: names are unique and every default is a legal value.
#include <gtest/gtest.h>

#include <set>

#include "app/config/option.h"

namespace fieldprint::app {
namespace {

TEST(OptionTable, NamesAndKeysAreUnique) {
  std::set<std::string> names;
  std::set<std::string> keys;
  for (const OptionSpec& option : option_table()) {
    EXPECT_TRUE(names.insert(option.name).second) << option.name;
    if (*option.toml_key != 0) {
      EXPECT_TRUE(keys.insert(option.toml_key).second) << option.toml_key;
    }
    EXPECT_EQ(*option.toml_key != 0, option.sources == OptionSources::kAll) << option.name;
    EXPECT_NE(option.commands, 0U) << option.name;
  }
}

TEST(OptionTable, ShortNamesAreUniqueInEachCommand) {
  for (const CommandSpec& spec : command_table()) {
    std::set<char> shorts{'h'};
    for (const OptionSpec* option : options_of(spec.id)) {
      if (option->short_name == 0) continue;
      EXPECT_TRUE(shorts.insert(option->short_name).second) << spec.name << " " << option->name;
    }
  }
}

TEST(OptionTable, DefaultsAreLegalAndInNormalForm) {
  for (const OptionSpec& option : option_table()) {
    if (*option.fallback == 0) continue;
    const Result<std::string> normal = normalise_value(option, option.fallback);
    ASSERT_TRUE(normal.has_value()) << option.name;
    EXPECT_EQ(*normal, option.fallback) << option.name;
  }
}

TEST(OptionTable, EnvironmentNamesFollowTheFlag) {
  EXPECT_EQ(env_name(*find_option("context-length")), "FIELDPRINT_CONTEXT_LENGTH");
}

struct ValueCase {
  const char* option;
  const char* text;
  const char* normal;  // nullptr: refused
};

TEST(OptionTable, ValuesAreCheckedAndNormalised) {
  const ValueCase cases[] = {
      {"port", "8080", "8080"},
      {"port", "0080", "80"},
      {"port", "65536", nullptr},
      {"port", "-1", nullptr},
      {"port", "80x", nullptr},
      {"port", "", nullptr},
      {"port", " 80", nullptr},
      {"port", "99999999999999999999", nullptr},
      {"gamma", "0.25", "0.25"},
      {"gamma", "1.01", nullptr},
      {"gamma", "nan", nullptr},
      {"gamma", "inf", nullptr},
      {"beta", "1e-1", "0.1"},
      {"prefix-cache", "on", "true"},
      {"prefix-cache", "0", "false"},
      {"prefix-cache", "maybe", nullptr},
      {"kv-dtype", "f32", "f32"},
      {"kv-dtype", "f16", nullptr},
      {"host", "", ""},
  };
  for (const ValueCase& c : cases) {
    const Result<std::string> normal = normalise_value(*find_option(c.option), c.text);
    ASSERT_EQ(normal.has_value(), c.normal != nullptr) << c.option << " '" << c.text << "'";
    if (c.normal != nullptr) {
      EXPECT_EQ(*normal, c.normal);
    } else {
      EXPECT_EQ(normal.error().code, "option_value");
      EXPECT_EQ(normal.error().param, c.option);
    }
  }
}

TEST(Nearest, FindsATypoAndRefusesAStranger) {
  const std::string names[] = {"--threads", "--temperature", "--port"};
  EXPECT_EQ(nearest("--thread", names), "--threads");
  EXPECT_EQ(nearest("--tempratur", names), "--temperature");
  EXPECT_EQ(nearest("--prot", names), "--port");
  EXPECT_EQ(nearest("--zzzzzzzzzzzz", names), "");
}

}  // namespace
}  // namespace fieldprint::app
