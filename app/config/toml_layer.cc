// The only file that sees toml++.
#include <fmt/format.h>
#include <sys/stat.h>
#include <toml++/toml.h>

#include <fstream>
#include <sstream>

#include "app/config/settings.h"

namespace fieldprint::app {
namespace {

constexpr std::size_t kMaxConfigBytes = std::size_t{1} << 20;

const OptionSpec* option_of_key(std::string_view key) {
  for (const OptionSpec& option : option_table())
    if (*option.toml_key != 0 && key == option.toml_key) return &option;
  return nullptr;
}

bool is_section(std::string_view name) {
  const std::string prefix = std::string(name) + ".";
  for (const OptionSpec& option : option_table())
    if (std::string_view(option.toml_key).starts_with(prefix)) return true;
  return false;
}

tl::unexpected<Error> unknown_key(const std::string& key, const std::string& where) {
  std::vector<std::string> known;
  for (const OptionSpec& option : option_table())
    if (*option.toml_key != 0) known.emplace_back(option.toml_key);
  const std::string near = nearest(key, known);
  return fail(ErrorKind::kInvalid, "config_unknown_key",
              fmt::format("{}: unknown key '{}'{}", where, key.substr(0, 80),
                          near.empty() ? "" : fmt::format(", did you mean '{}'?", near)),
              key);
}

std::string type_name(const OptionSpec& option) {
  switch (option.type) {
    case OptionType::kBool:
      return "true or false";
    case OptionType::kInt:
      return "a whole number";
    case OptionType::kFloat:
      return "a number";
    case OptionType::kString:
    case OptionType::kChoice:
      return "a string";
    case OptionType::kIntList:
      return "a list of whole numbers";
    case OptionType::kTextList:
      return "a string or a list of strings";
  }
  return "";
}

// The text form of a scalar node, or nullopt if its type is not the option's.
std::optional<std::string> scalar_text(const OptionSpec& option, const toml::node& node) {
  switch (option.type) {
    case OptionType::kBool:
      if (const auto value = node.value_exact<bool>()) return *value ? "true" : "false";
      return std::nullopt;
    case OptionType::kFloat:
      if (const auto value = node.value_exact<double>()) return fmt::format("{}", *value);
      [[fallthrough]];  // "1" is a good number too
    case OptionType::kInt:
    case OptionType::kIntList:
      if (const auto value = node.value_exact<std::int64_t>()) return std::to_string(*value);
      return std::nullopt;
    case OptionType::kString:
    case OptionType::kChoice:
    case OptionType::kTextList:
      return node.value_exact<std::string>();
  }
  return std::nullopt;
}

Result<Setting> read_setting(const OptionSpec& option, const toml::node& node,
                             const std::string& where) {
  Setting setting;
  setting.origin = Origin::kFile;
  setting.where = where;
  const auto wrong_type = [&] {
    return fail(ErrorKind::kInvalid, "config_type",
                fmt::format("{}: '{}' must be {}", where, option.toml_key, type_name(option)),
                option.toml_key);
  };
  const bool list = option.type == OptionType::kIntList || option.type == OptionType::kTextList;
  if (const toml::array* array = node.as_array()) {
    if (!list) return wrong_type();
    for (const toml::node& item : *array) {
      std::optional<std::string> text = scalar_text(option, item);
      if (!text) return wrong_type();
      setting.items.push_back(std::move(*text));
    }
    return setting;
  }
  std::optional<std::string> text = scalar_text(option, node);
  if (!text) return wrong_type();
  setting.items = {std::move(*text)};
  return setting;
}

Result<Layer> read_document(const toml::table& document, const std::string& origin_name) {
  Layer layer;
  for (const auto& [section, section_node] : document) {
    const std::string section_name(section.str());
    const auto line_of = [&](const toml::node& node) {
      return fmt::format("{}:{}", origin_name, node.source().begin.line);
    };
    const toml::table* table = section_node.as_table();
    if (table == nullptr || !is_section(section_name))
      return unknown_key(section_name, line_of(section_node));
    for (const auto& [key, node] : *table) {
      const std::string full = section_name + "." + std::string(key.str());
      const OptionSpec* option = option_of_key(full);
      if (option == nullptr) return unknown_key(full, line_of(node));
      FP_ASSIGN(layer[option->name], read_setting(*option, node, line_of(node)));
    }
  }
  return layer;
}

}  // namespace

Result<Layer> toml_layer(std::string_view toml, const std::string& origin_name) {
  if (toml.size() > kMaxConfigBytes)
    return fail(ErrorKind::kTooLarge, "config_too_large",
                fmt::format("{}: a configuration file has at most 1 MiB", origin_name));
  toml::table document;
  try {
    document = toml::parse(toml, origin_name);
  } catch (const toml::parse_error& error) {
    return fail(
        ErrorKind::kInvalid, "config_syntax",
        fmt::format("{}:{}: {}", origin_name, error.source().begin.line, error.description()));
  }
  return read_document(document, origin_name);
}

Result<Layer> toml_file_layer(const std::string& path) {
  // A FIFO or a device would never end: only regular files are read.
  struct stat info {};
  std::ifstream file(path, std::ios::binary);
  if (stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode) || !file)
    return fail(ErrorKind::kNotFound, "config_missing",
                fmt::format("{}: cannot be read as a file", path), "config");
  std::string text(kMaxConfigBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  return toml_layer(text, path);
}

}  // namespace fieldprint::app
