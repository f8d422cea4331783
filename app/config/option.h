// The one table of options. Flags, environment names, TOML keys, --help, --print-config and
// docs/cli.md all come from it; nothing else in app/ names a flag.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace fieldprint::app {

enum class Command : std::uint8_t {
  kServe,
  kRun,
  kComplete,
  kTokenize,
  kBench,
  kAnchorCompile,
  kAnchorCalibrate,
  kAnchorShow,
  kAnchorList,
  kAnchorInit,
  kAnchorSign,
  kAnchorPromote,
  kAnchorRevoke,
  kAnchorOverride,
  kAnchorStatus,
  kAnchorInspect,
  kAnchorDiff,
  kAnchorRotate,
  kKeygen,
  kLedgerInit,
  kLedgerShow,
  kLedgerProve,
  kLedgerVerify,
  kLedgerFsck,
  kLedgerExport,
  kWitness,
  kVerify,
  kModels,
  kVersion,
  kHelp,
};
using CommandSet = std::uint32_t;
constexpr CommandSet bit(Command command) {
  return CommandSet{1} << static_cast<unsigned>(command);
}

enum class OptionType : std::uint8_t { kBool, kInt, kFloat, kString, kChoice, kIntList, kTextList };

// Where an option may be set besides the command line.
enum class OptionSources : std::uint8_t {
  kAll,       // flag, FIELDPRINT_<NAME>, TOML
  kFlagOnly,  // says what this one call does: --json, --text
  kEnvOnly,   // secrets: a flag would show in the process list, a file has its own option
};

struct OptionSpec {
  const char* name;      // "context-length": --context-length, FIELDPRINT_CONTEXT_LENGTH
  char short_name;       // 'c' for -c; 0: none
  const char* toml_key;  // "engine.context_length"; "" if the sources exclude a file
  OptionType type;
  const char* fallback;    // default, as text; "" means absent or chosen at run time
  const char* value_name;  // "N", "DIR"; for kChoice "a|b|c", the legal values
  const char* help;        // one line
  CommandSet commands;
  OptionSources sources;
  double min;  // kInt, kFloat, kIntList: legal range, both ends included
  double max;
};

struct CommandSpec {
  Command id;
  const char* name;        // "anchor compile"
  const char* summary;     // one line
  const char* positional;  // "[PROMPT]"; "" if none
  int max_positionals;
  const char* examples;  // lines, each a command
};

std::span<const OptionSpec> option_table();
std::span<const CommandSpec> command_table();
// The commands "<group> ...", in the table's order; empty for no group.
std::vector<const CommandSpec*> group_commands(std::string_view group);

const OptionSpec* find_option(std::string_view name);  // nullptr if unknown
const CommandSpec& command_spec(Command command);
const CommandSpec* find_command(std::string_view name);
std::vector<const OptionSpec*> options_of(Command command);

std::string env_name(const OptionSpec& option);  // "FIELDPRINT_CONTEXT_LENGTH"
// Legal values of a kChoice option.
std::vector<std::string> choices_of(const OptionSpec& option);

// Checks type and range and returns the normal form ("yes" -> "true"). The empty text is
// legal only for kString and kTextList. Errors: option_value; param is the option's name.
Result<std::string> normalise_value(const OptionSpec& option, std::string_view text);

// The candidate nearest to `text` by edit distance; "" if none is near enough to be meant.
std::string nearest(std::string_view text, std::span<const std::string> candidates);

}  // namespace fieldprint::app
