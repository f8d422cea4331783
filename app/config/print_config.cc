#include <fmt/format.h>

#include "app/config/settings.h"

namespace fieldprint::app {
namespace {

std::string toml_quote(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\')
      out += fmt::format("\\{}", c);
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      out += fmt::format("\\u{:04X}", static_cast<unsigned>(c));
    else
      out += c;
  }
  return out + "\"";
}

std::string toml_item(const OptionSpec& option, const std::string& item) {
  switch (option.type) {
    case OptionType::kBool:
    case OptionType::kInt:
    case OptionType::kIntList:
    case OptionType::kFloat:  // TOML tells 1 from 1.0; both are read
      return item;
    case OptionType::kString:
    case OptionType::kChoice:
    case OptionType::kTextList:
      return toml_quote(item);
  }
  return item;
}

std::string toml_value(const OptionSpec& option, const Setting& setting) {
  if (option.type != OptionType::kTextList && option.type != OptionType::kIntList)
    return toml_item(option, setting.items.front());
  std::string out;
  for (const std::string& item : setting.items)
    out += (out.empty() ? "" : ", ") + toml_item(option, item);
  return "[" + out + "]";
}

std::string last_four(const std::string& secret) {
  if (secret.empty()) return "none";
  return secret.size() <= 8 ? "****" : "****" + secret.substr(secret.size() - 4);
}

}  // namespace

std::string print_config(Command command, const Settings& settings) {
  std::string out;
  std::string section;
  for (const OptionSpec* option : options_of(command)) {
    const Setting& setting = settings.all().at(option->name);
    if (option->sources == OptionSources::kEnvOnly) {
      out += fmt::format("# {} = {}  # {}\n", env_name(*option), last_four(setting.items.front()),
                         setting.where);
      continue;
    }
    if (option->sources == OptionSources::kFlagOnly) continue;
    const std::string_view key = option->toml_key;
    const std::size_t dot = key.find('.');
    if (key.substr(0, dot) != section) {
      section = key.substr(0, dot);
      out += fmt::format("{}[{}]\n", out.empty() ? "" : "\n", section);
    }
    // An absent value has no TOML form: the line is a comment.
    const bool absent = setting.origin == Origin::kDefault &&
                        (setting.items.empty() || setting.items.front().empty());
    out += fmt::format("{}{} = {}  # {}\n", absent ? "# " : "", key.substr(dot + 1),
                       toml_value(*option, setting), setting.where);
  }
  return out;
}

}  // namespace fieldprint::app
