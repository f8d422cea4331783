#include "app/config/option.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <optional>

#include "core/check.h"

namespace fieldprint::app {
namespace {

std::optional<bool> parse_bool(std::string_view text) {
  for (const char* yes : {"true", "1", "on", "yes", "enabled"})
    if (text == yes) return true;
  for (const char* no : {"false", "0", "off", "no", "disabled"})
    if (text == no) return false;
  return std::nullopt;
}

std::string range_text(const OptionSpec& option) {
  return fmt::format("{:.10g}..{:.10g}", option.min, option.max);
}

tl::unexpected<Error> bad_value(const OptionSpec& option, std::string_view text,
                                const std::string& wanted) {
  return fail(ErrorKind::kInvalid, "option_value",
              fmt::format("{} cannot be '{}': it takes {}", option.name,
                          text.substr(0, std::min<std::size_t>(text.size(), 80)), wanted),
              option.name);
}

Result<std::string> normalise_int(const OptionSpec& option, std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  const auto as_double = static_cast<double>(value);
  if (!whole || as_double < option.min || as_double > option.max)
    return bad_value(option, text, "a whole number " + range_text(option));
  return std::to_string(value);
}

Result<std::string> normalise_float(const OptionSpec& option, std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  if (!whole || !std::isfinite(value) || value < option.min || value > option.max)
    return bad_value(option, text, "a number " + range_text(option));
  return fmt::format("{}", value);
}

Result<std::string> normalise_choice(const OptionSpec& option, std::string_view text) {
  const std::vector<std::string> choices = choices_of(option);
  if (std::find(choices.begin(), choices.end(), text) == choices.end())
    return bad_value(option, text, "one of " + std::string(option.value_name));
  return std::string(text);
}

}  // namespace

const OptionSpec* find_option(std::string_view name) {
  for (const OptionSpec& option : option_table())
    if (name == option.name) return &option;
  return nullptr;
}

const CommandSpec& command_spec(Command command) {
  for (const CommandSpec& spec : command_table())
    if (spec.id == command) return spec;
  FP_UNREACHABLE();
}

const CommandSpec* find_command(std::string_view name) {
  for (const CommandSpec& spec : command_table())
    if (name == spec.name) return &spec;
  return nullptr;
}

std::vector<const OptionSpec*> options_of(Command command) {
  std::vector<const OptionSpec*> options;
  for (const OptionSpec& option : option_table())
    if ((option.commands & bit(command)) != 0) options.push_back(&option);
  return options;
}

std::string env_name(const OptionSpec& option) {
  std::string name = "FIELDPRINT_";
  for (const char* c = option.name; *c != 0; ++c)
    name += *c == '-' ? '_' : static_cast<char>(*c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c);
  return name;
}

std::vector<std::string> choices_of(const OptionSpec& option) {
  std::vector<std::string> choices;
  std::string_view rest = option.value_name;
  while (true) {
    const std::size_t bar = rest.find('|');
    choices.emplace_back(rest.substr(0, bar));
    if (bar == std::string_view::npos) return choices;
    rest.remove_prefix(bar + 1);
  }
}

Result<std::string> normalise_value(const OptionSpec& option, std::string_view text) {
  if (text.find('\0') != std::string_view::npos)
    return bad_value(option, "", "text without NUL bytes");
  switch (option.type) {
    case OptionType::kBool: {
      const std::optional<bool> value = parse_bool(text);
      if (!value) return bad_value(option, text, "true or false");
      return std::string(*value ? "true" : "false");
    }
    case OptionType::kInt:
    case OptionType::kIntList:
      return normalise_int(option, text);
    case OptionType::kFloat:
      return normalise_float(option, text);
    case OptionType::kChoice:
      return normalise_choice(option, text);
    case OptionType::kString:
    case OptionType::kTextList:
      return std::string(text);
  }
  FP_UNREACHABLE();
}

std::string nearest(std::string_view text, std::span<const std::string> candidates) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, text.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    std::vector<std::size_t> row(candidate.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= text.size(); ++i) {
      std::size_t diagonal = row[0];
      row[0] = i;
      for (std::size_t j = 1; j <= candidate.size(); ++j) {
        const std::size_t change = diagonal + (text[i - 1] == candidate[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({change, row[j] + 1, row[j - 1] + 1});
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = candidate;
    }
  }
  if (!best.empty()) return best;
  for (const std::string& candidate : candidates)  // an unfinished name
    if (text.size() >= 4 && candidate.starts_with(text)) return candidate;
  return best;
}

std::vector<const CommandSpec*> group_commands(std::string_view group) {
  std::vector<const CommandSpec*> commands;
  for (const CommandSpec& spec : command_table()) {
    const std::string_view name = spec.name;
    if (name.starts_with(group) && name.substr(group.size()).starts_with(' '))
      commands.push_back(&spec);
  }
  return commands;
}

}  // namespace fieldprint::app
