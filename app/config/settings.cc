#include "app/config/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>

#include "core/check.h"

namespace fieldprint::app {
namespace {

// Names of the build and its tools, which reach the program through `make run`.
constexpr std::string_view kBuildVariables[] = {"CACHE", "FUZZ_SECONDS", "JOBS", "LLAMA_PREFIX",
                                                "PIP"};

template <typename Names>
bool contains(const Names& names, std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

std::vector<std::string> split_commas(std::string_view text) {
  std::vector<std::string> items;
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    items.emplace_back(text.substr(0, comma));
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
  }
  return items;
}

Setting default_setting(const OptionSpec& option) {
  Setting setting;
  setting.where = "default";
  switch (option.type) {
    case OptionType::kTextList:
      break;
    case OptionType::kIntList:
      setting.items = split_commas(option.fallback);
      break;
    case OptionType::kBool:
    case OptionType::kInt:
    case OptionType::kFloat:
    case OptionType::kString:
    case OptionType::kChoice:
      setting.items = {option.fallback};
  }
  return setting;
}

// Splits what arrived as one text, checks and normalises every item.
Status normalise_setting(const OptionSpec& option, Setting& setting) {
  if (option.type == OptionType::kIntList) {
    std::vector<std::string> items;
    for (const std::string& item : setting.items)
      for (std::string& part : split_commas(item)) items.push_back(std::move(part));
    setting.items = std::move(items);
  }
  for (std::string& item : setting.items) {
    Result<std::string> normal = normalise_value(option, item);
    if (!normal) {
      normal.error().message += fmt::format(" (from {})", setting.where);
      return tl::unexpected(normal.error());
    }
    item = std::move(*normal);
  }
  const bool list = option.type == OptionType::kIntList || option.type == OptionType::kTextList;
  if (setting.items.empty() || (!list && setting.items.size() > 1))
    return fail(
        ErrorKind::kInvalid, "option_value",
        fmt::format("{} takes {}, got {} (from {})", option.name,
                    list ? "at least one value" : "one value", setting.items.size(), setting.where),
        option.name);
  return {};
}

}  // namespace

Result<Settings> merge_settings(Command command, const std::vector<Layer>& layers) {
  Settings settings;
  for (const OptionSpec* option : options_of(command))
    settings.values_[option->name] = default_setting(*option);
  for (const Layer& layer : layers) {
    for (const auto& [name, raw] : layer) {
      const OptionSpec* option = find_option(name);
      FP_CHECK(option != nullptr);
      Setting setting = raw;
      FP_TRY(normalise_setting(*option, setting));
      const auto slot = settings.values_.find(name);
      if (slot != settings.values_.end()) slot->second = std::move(setting);
    }
  }
  return settings;
}

Layer environment_layer(const GetEnv& get_env) {
  Layer layer;
  for (const OptionSpec& option : option_table()) {
    if (option.sources == OptionSources::kFlagOnly) continue;
    const std::string name = env_name(option);
    const char* value = get_env(name.c_str());
    if (value == nullptr) continue;
    Setting setting;
    setting.origin = Origin::kEnvironment;
    setting.where = name;
    setting.items = option.type == OptionType::kTextList ? split_commas(value)
                                                         : std::vector<std::string>{value};
    layer[option.name] = std::move(setting);
  }
  return layer;
}

std::vector<std::string> unknown_environment(const char* const* environment) {
  const std::string prefix = "FIELDPRINT_";
  std::vector<std::string> known;  // without the prefix, which would make all names look alike
  for (const OptionSpec& option : option_table())
    if (option.sources != OptionSources::kFlagOnly)
      known.push_back(env_name(option).substr(prefix.size()));
  known.emplace_back("CONFIG");
  std::vector<std::string> unknown;
  for (; *environment != nullptr; ++environment) {
    const std::string_view entry = *environment;
    if (!entry.starts_with(prefix)) continue;
    const std::string name(entry.substr(prefix.size(), entry.find('=') - prefix.size()));
    if (name.starts_with("TEST_") || contains(kBuildVariables, name) || contains(known, name))
      continue;
    const std::string near = nearest(name, known);
    unknown.push_back(prefix + name +
                      (near.empty() ? "" : fmt::format(", did you mean {}{}?", prefix, near)));
  }
  return unknown;
}

const Setting& Settings::get(std::string_view name, OptionType type) const {
  const OptionSpec* option = find_option(name);
  FP_CHECK(option != nullptr && option->type == type);
  const auto slot = values_.find(std::string(name));
  FP_CHECK(slot != values_.end());
  return slot->second;
}

const std::string& Settings::text(std::string_view name) const {
  const OptionSpec* option = find_option(name);
  FP_CHECK(option != nullptr);
  const bool choice = option->type == OptionType::kChoice;
  return get(name, choice ? OptionType::kChoice : OptionType::kString).items.front();
}

std::int64_t Settings::integer(std::string_view name) const {
  const std::string& text = get(name, OptionType::kInt).items.front();
  std::int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

double Settings::number(std::string_view name) const {
  const std::string& text = get(name, OptionType::kFloat).items.front();
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

bool Settings::flag(std::string_view name) const {
  return get(name, OptionType::kBool).items.front() == "true";
}

const std::vector<std::string>& Settings::list(std::string_view name) const {
  return get(name, OptionType::kTextList).items;
}

std::vector<std::int32_t> Settings::integers(std::string_view name) const {
  std::vector<std::int32_t> values;
  for (const std::string& item : get(name, OptionType::kIntList).items)
    values.push_back(static_cast<std::int32_t>(std::stoll(item)));
  return values;
}

Origin Settings::origin(std::string_view name) const {
  const auto slot = values_.find(std::string(name));
  FP_CHECK(slot != values_.end());
  return slot->second.origin;
}

}  // namespace fieldprint::app
