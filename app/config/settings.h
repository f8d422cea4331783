// Values of a command's options after merging, each with where it came from.
// Precedence: flag > FIELDPRINT_* > user's TOML > system's TOML > default.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/config/option.h"

namespace fieldprint::app {

enum class Origin : std::uint8_t { kDefault, kFile, kEnvironment, kFlag };

struct Setting {
  std::vector<std::string> items;  // one for scalars; lists as they come
  Origin origin = Origin::kDefault;
  std::string where;  // "--port", "FIELDPRINT_PORT", "/etc/...toml:12", "default"
};

// Raw values of one source, by option name.
using Layer = std::map<std::string, Setting>;

class Settings {
 public:
  // Scalars: the option must exist in the table and have that type (a bug otherwise).
  const std::string& text(std::string_view name) const;
  std::int64_t integer(std::string_view name) const;
  double number(std::string_view name) const;
  bool flag(std::string_view name) const;
  const std::vector<std::string>& list(std::string_view name) const;
  std::vector<std::int32_t> integers(std::string_view name) const;
  Origin origin(std::string_view name) const;
  bool given(std::string_view name) const { return origin(name) != Origin::kDefault; }

  const std::map<std::string, Setting>& all() const { return values_; }

 private:
  friend Result<Settings> merge_settings(Command, const std::vector<Layer>&);
  const Setting& get(std::string_view name, OptionType type) const;
  std::map<std::string, Setting> values_;
};

// layers: weakest first, without the defaults. Values of options that the command does not
// have are checked but not kept: one file serves all commands. Errors: option_value.
Result<Settings> merge_settings(Command command, const std::vector<Layer>& layers);

// Reads FIELDPRINT_<NAME> of every option that may come from the environment.
using GetEnv = std::function<const char*(const char*)>;
Layer environment_layer(const GetEnv& get_env);

// Names in `environment` ("NAME=value" strings, ends with nullptr) that start with
// FIELDPRINT_ but name no option, each with a suggestion where one is near. FIELDPRINT_TEST_*
// and the build's own names are not reported.
std::vector<std::string> unknown_environment(const char* const* environment);

// Parses TOML text. origin_name names it in errors and in Setting::where. Limits: 1 MiB,
// values nested at most one table deep. Errors: config_too_large, config_syntax,
// config_unknown_key (with the nearest known key), config_type.
Result<Layer> toml_layer(std::string_view toml, const std::string& origin_name);
// Same from a file; config_missing if it cannot be opened.
Result<Layer> toml_file_layer(const std::string& path);

// The --print-config page: one "key = value  # origin" line per option of the command, as
// TOML that can be read back. Secrets show their last four characters.
std::string print_config(Command command, const Settings& settings);

}  // namespace fieldprint::app
