// The only file that sees CLI11. It reads every value as text; types, ranges and help come
// from the option table.
#include "app/config/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <deque>
#include <memory>

namespace fieldprint::app {
namespace {

// Longest argument list: enough for any real call, small enough to stay a list.
constexpr std::size_t kMaxArguments = 1024;

// Where CLI11 puts the values of one option.
struct Bound {
  const OptionSpec* option = nullptr;
  CLI::Option* flag = nullptr;
  std::vector<std::string> values;
  bool on = false;
};

std::string cli_names(const OptionSpec& option) {
  std::string names;
  if (option.short_name != 0) names = fmt::format("-{},", option.short_name);
  names += fmt::format("--{}", option.name);
  if (option.type == OptionType::kBool && !std::string_view(option.name).starts_with("no-"))
    names += fmt::format(",!--no-{}", option.name);
  return names;
}

void bind_options(CLI::App& app, Command command, std::deque<Bound>& bounds) {
  for (const OptionSpec* option : options_of(command)) {
    if (option->sources == OptionSources::kEnvOnly) continue;
    Bound& bound = bounds.emplace_back();
    bound.option = option;
    if (option->type == OptionType::kBool) {
      bound.flag = app.add_flag(cli_names(*option), bound.on);
    } else {
      bound.flag = app.add_option(cli_names(*option), bound.values);
      bound.flag->allow_extra_args(false)->take_all();  // one value per flag, flags may repeat
    }
  }
}

tl::unexpected<Error> unknown_flag(Command command, std::string flag) {
  flag = flag.substr(0, flag.find('='));
  std::vector<std::string> known{"--help"};
  for (const OptionSpec* option : options_of(command)) {
    if (option->sources == OptionSources::kEnvOnly) continue;
    known.push_back(fmt::format("--{}", option->name));
    if (option->type == OptionType::kBool) known.push_back(fmt::format("--no-{}", option->name));
  }
  std::string near = nearest(flag, known);
  const std::string hint = near.empty()
                               ? fmt::format("see 'fieldprint help {}'", command_spec(command).name)
                               : fmt::format("did you mean {}?", near);
  return fail(ErrorKind::kInvalid, "unknown_flag",
              fmt::format("{} is no flag of '{}', {}", flag.substr(0, 80),
                          command_spec(command).name, hint),
              flag);
}

tl::unexpected<Error> unknown_command(const std::string& name) {
  std::vector<std::string> known;
  for (const CommandSpec& spec : command_table()) known.emplace_back(spec.name);
  const std::string near = nearest(name, known);
  return fail(
      ErrorKind::kInvalid, "unknown_command",
      fmt::format("'{}' is no command, {}", name.substr(0, 80),
                  near.empty() ? "see 'fieldprint help'" : fmt::format("did you mean '{}'?", near)),
      name);
}

// "init, compile, ..." for the commands "anchor init", "anchor compile", ...; empty for no group.
std::string members_of(const std::string& group) {
  std::string members;
  for (const CommandSpec* spec : group_commands(group))
    members += (members.empty() ? "" : ", ") + std::string(spec->name).substr(group.size() + 1);
  return members;
}

// The longest command name at the front of args ("anchor compile" before "anchor").
Result<const CommandSpec*> take_command(std::span<const std::string>& args) {
  if (args.size() >= 2) {
    if (const CommandSpec* spec = find_command(args[0] + " " + args[1])) {
      args = args.subspan(2);
      return spec;
    }
  }
  if (const CommandSpec* spec = find_command(args[0])) {
    args = args.subspan(1);
    return spec;
  }
  const std::string members = members_of(args[0]);
  if (members.empty()) return unknown_command(args[0]);
  if (args.size() >= 2 && !args[1].starts_with("-"))
    return unknown_command(args[0] + " " + args[1]);
  return fail(ErrorKind::kInvalid, "unknown_command",
              fmt::format("'{}' needs one of {}", args[0], members), args[0]);
}

Status collect(const CLI::App& app, std::deque<Bound>& bounds, CommandLine& line) {
  for (Bound& bound : bounds) {
    if (bound.flag->count() == 0) continue;
    Setting setting;
    setting.origin = Origin::kFlag;
    setting.where = fmt::format("--{}", bound.option->name);
    setting.items = bound.option->type == OptionType::kBool
                        ? std::vector<std::string>{bound.on ? "true" : "false"}
                        : bound.values;
    const bool list =
        bound.option->type == OptionType::kIntList || bound.option->type == OptionType::kTextList;
    if (!list) setting.items = {setting.items.back()};  // the last one wins
    line.flags[bound.option->name] = std::move(setting);
  }
  bool flags_ended = false;
  for (const std::string& rest : app.remaining()) {
    if (!flags_ended && rest == "--") {
      flags_ended = true;
    } else if (!flags_ended && rest.size() > 1 && rest.front() == '-') {
      return unknown_flag(line.command, rest);
    } else {
      line.positionals.push_back(rest);
    }
  }
  const CommandSpec& spec = command_spec(line.command);
  if (line.positionals.size() > static_cast<std::size_t>(spec.max_positionals))
    return fail(ErrorKind::kInvalid, "unexpected_argument",
                fmt::format("'{}' takes {}, got '{}'", spec.name,
                            spec.max_positionals == 0 ? "no arguments" : spec.positional,
                            line.positionals.back().substr(0, 80)));
  return {};
}

Status parse_flags(std::span<const std::string> args, CommandLine& line) {
  CLI::App app;
  app.set_help_flag("");
  app.allow_extras();
  std::deque<Bound> bounds;
  bind_options(app, line.command, bounds);
  app.add_flag("-h,--help", line.help);
  std::vector<std::string> reversed;  // CLI11 wants the last argument first
  for (auto arg = args.rbegin(); arg != args.rend(); ++arg) {
    const bool np = *arg == "-np" && line.command == Command::kBench;  // llama-bench's spelling
    reversed.push_back(np ? "--parallel" : *arg);
  }
  app.parse(std::move(reversed));
  return collect(app, bounds, line);
}

}  // namespace

Result<CommandLine> parse_command_line(std::span<const std::string> args) {
  CommandLine line;
  if (args.size() > kMaxArguments)
    return fail(ErrorKind::kTooLarge, "too_many_arguments",
                fmt::format("at most {} arguments are read", kMaxArguments));
  if (args.empty() || args[0] == "-h" || args[0] == "--help") return line;
  const bool asks_help = args.size() == 2 && (args[1] == "-h" || args[1] == "--help");
  if (asks_help && find_command(args[0]) == nullptr && !members_of(args[0]).empty()) {
    line.positionals = {args[0]};  // as "help anchor"
    return line;
  }
  if (args[0] == "-v" || args[0] == "--version") {
    line.command = Command::kVersion;
    args = args.subspan(1);
  } else {
    FP_ASSIGN(const CommandSpec* spec, take_command(args));
    line.command = spec->id;
  }
  try {
    FP_TRY(parse_flags(args, line));
  } catch (const CLI::ArgumentMismatch& error) {
    return fail(ErrorKind::kInvalid, "missing_value", error.what());
  } catch (const CLI::ParseError& error) {
    return fail(ErrorKind::kInvalid, "option_value", error.what());
  }
  return line;
}

}  // namespace fieldprint::app
