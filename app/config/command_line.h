// Turns argv into a command, its flags as raw text, and positionals.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "app/config/settings.h"

namespace fieldprint::app {

struct CommandLine {
  Command command = Command::kHelp;
  bool help = false;  // -h or --help was given
  Layer flags;
  std::vector<std::string> positionals;
};

// args: without the program's name. `-v` and `--version` mean the command version; no
// arguments, `-h` and `--help` mean help. "--" ends the flags; "--no-x" sets a switch to
// false; of a repeated flag the last one wins, lists take all. Errors: unknown_command,
// unknown_flag (both with the nearest known one), missing_value, unexpected_argument, option_value.
Result<CommandLine> parse_command_line(std::span<const std::string> args);

// Help: the list of commands, or one command with its options, sources, defaults and examples.
std::string help_overview();
std::string help_command(Command command);
// The commands whose name starts with "<group> "; empty if there are none.
std::string help_group(std::string_view group);
// The generated part of docs/cli.md, between its markers.
std::string help_markdown();

}  // namespace fieldprint::app
