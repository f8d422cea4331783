#include <fmt/format.h>

#include "app/config/command_line.h"

namespace fieldprint::app {
namespace {

constexpr std::size_t kHelpColumn = 34;

std::string flag_text(const OptionSpec& option) {
  std::string text =
      option.short_name != 0 ? fmt::format("-{}, ", option.short_name) : std::string("    ");
  text += fmt::format("--{}", option.name);
  if (*option.value_name != 0) text += fmt::format(" {}", option.value_name);
  return text;
}

std::string notes(const OptionSpec& option) {
  std::string text;
  if (*option.fallback != 0 && option.type != OptionType::kBool)
    text += fmt::format("default {}", option.fallback);
  if (option.type == OptionType::kBool && std::string_view(option.fallback) == "true")
    text += fmt::format("on by default, --no-{} for off", option.name);
  if (option.sources != OptionSources::kFlagOnly)
    text += fmt::format("{}env {}", text.empty() ? "" : "; ", env_name(option));
  return text.empty() ? "" : fmt::format(" [{}]", text);
}

std::string option_line(const OptionSpec& option) {
  const std::string flag = option.sources == OptionSources::kEnvOnly
                               ? fmt::format("    (only {})", env_name(option))
                               : flag_text(option);
  if (flag.size() + 2 > kHelpColumn)
    return fmt::format("  {}\n{:{}}  {}{}\n", flag, "", kHelpColumn, option.help, notes(option));
  return fmt::format("  {:{}}{}{}\n", flag, kHelpColumn, option.help, notes(option));
}

std::string indent_lines(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    out += fmt::format("  {}\n", text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return out;
}

std::string table_cell(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '|' ? std::string("\\|") : std::string(1, c);
  return out;
}

}  // namespace

std::string help_overview() {
  std::string out =
      "fieldprint: an LLM engine and server whose assistant keeps its identity\n\n"
      "usage: fieldprint COMMAND [FLAGS]\n\ncommands:\n";
  for (const CommandSpec& spec : command_table())
    out += fmt::format("  {:16}{}\n", spec.name, spec.summary);
  out +=
      "\n'fieldprint help COMMAND' shows its flags. A flag beats its environment variable\n"
      "FIELDPRINT_<FLAG>, which beats the TOML file, which beats the default;\n"
      "'--print-config' shows what holds and why. Exit codes: 0 good, 1 the system's fault,\n"
      "2 the input's fault, 130 cancelled.\n";
  return out;
}

std::string help_group(std::string_view group) {
  std::string rows;
  for (const CommandSpec* spec : group_commands(group))
    rows += fmt::format("  {:16}{}\n", spec->name, spec->summary);
  if (rows.empty()) return {};
  return fmt::format(
      "usage: fieldprint {0} COMMAND [FLAGS]\n\ncommands:\n{1}\n"
      "'fieldprint help {0} COMMAND' shows the flags of one.\n",
      group, rows);
}

std::string help_command(Command command) {
  const CommandSpec& spec = command_spec(command);
  const std::vector<const OptionSpec*> options = options_of(command);
  std::string out = fmt::format("fieldprint {}: {}\n\nusage: fieldprint {}{}{}{}\n", spec.name,
                                spec.summary, spec.name, options.empty() ? "" : " [FLAGS]",
                                *spec.positional != 0 ? " " : "", spec.positional);
  if (!options.empty()) {
    out += "\nflags:\n";
    for (const OptionSpec* option : options) out += option_line(*option);
  }
  out += fmt::format("\nexamples:\n{}", indent_lines(spec.examples));
  return out;
}

std::string help_markdown() {
  std::string out = "## Commands\n\n| command | what it does |\n| --- | --- |\n";
  for (const CommandSpec& spec : command_table())
    out += fmt::format("| `{}{}{}` | {} |\n", spec.name, *spec.positional != 0 ? " " : "",
                       spec.positional, spec.summary);
  out +=
      "\n## Options\n\n"
      "| flag | environment | TOML key | default | meaning | commands |\n"
      "| --- | --- | --- | --- | --- | --- |\n";
  for (const OptionSpec& option : option_table()) {
    std::string commands;
    for (const CommandSpec& spec : command_table())
      if ((option.commands & bit(spec.id)) != 0)
        commands += (commands.empty() ? "" : ", ") + std::string(spec.name);
    std::string flag = flag_text(option);
    flag.erase(0, flag.find_first_not_of(' '));
    const bool env_only = option.sources == OptionSources::kEnvOnly;
    const bool flag_only = option.sources == OptionSources::kFlagOnly;
    out += fmt::format("| {} | {} | {} | {} | {} | {} |\n",
                       env_only ? "" : fmt::format("`{}`", table_cell(flag)),
                       flag_only ? "" : fmt::format("`{}`", env_name(option)),
                       *option.toml_key == 0 ? "" : fmt::format("`{}`", option.toml_key),
                       *option.fallback == 0 ? "" : fmt::format("`{}`", option.fallback),
                       table_cell(option.help), commands);
  }
  out += "\n## Examples\n\n```sh\n";
  for (const CommandSpec& spec : command_table()) out += fmt::format("{}\n", spec.examples);
  return out + "```\n";
}

}  // namespace fieldprint::app
