// fieldprint: reads the command line, merges the settings, runs one command.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>

#include "app/commands/commands.h"
#include "app/config/command_line.h"
#include "app/support/paths.h"
#include "core/check.h"
#include "core/log.h"

namespace fieldprint::app {
namespace {

void print_out(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

Result<std::vector<Layer>> read_layers(const CommandLine& line) {
  std::vector<Layer> layers;
  const auto flag = line.flags.find("config");
  const char* variable = std::getenv("FIELDPRINT_CONFIG");
  if (flag != line.flags.end() && !flag->second.items.empty()) {
    FP_ASSIGN(layers.emplace_back(), toml_file_layer(flag->second.items.back()));
  } else if (variable != nullptr) {
    FP_ASSIGN(layers.emplace_back(), toml_file_layer(variable));
  } else {
    for (const std::string& file : default_config_files()) {
      std::error_code error;
      if (!std::filesystem::exists(file, error)) continue;
      FP_ASSIGN(layers.emplace_back(), toml_file_layer(file));
    }
  }
  layers.push_back(environment_layer([](const char* name) { return std::getenv(name); }));
  layers.push_back(line.flags);
  return layers;
}

Status start_log(Command command, const Settings& settings) {
  if (settings.all().count("log-level") == 0) return {};
  LogOptions options;
  const std::string& level = settings.text("log-level");
  options.level = command == Command::kServe ? LogLevel::kInfo : LogLevel::kWarn;
  if (level != "auto") {
    FP_ASSIGN(options.level, parse_log_level(level));
  }
  FP_ASSIGN(options.format, parse_log_format(settings.text("log-format")));
  log_init(options);
  return {};
}

Result<int> dispatch(const CommandInput& input) {
  switch (input.command) {
    case Command::kServe:
      return cmd_serve(input);
    case Command::kRun:
      return cmd_run(input);
    case Command::kComplete:
      return cmd_complete(input);
    case Command::kTokenize:
      return cmd_tokenize(input);
    case Command::kBench:
      return cmd_bench(input);
    case Command::kAnchorCompile:
      return cmd_anchor_compile(input);
    case Command::kAnchorCalibrate:
      return cmd_anchor_calibrate(input);
    case Command::kAnchorShow:
      return cmd_anchor_show(input);
    case Command::kAnchorList:
      return cmd_anchor_list(input);
    case Command::kAnchorInit:
      return cmd_anchor_init(input);
    case Command::kAnchorSign:
      return cmd_anchor_sign(input);
    case Command::kAnchorPromote:
      return cmd_anchor_promote(input);
    case Command::kAnchorRevoke:
      return cmd_anchor_revoke(input);
    case Command::kAnchorOverride:
      return cmd_anchor_override(input);
    case Command::kAnchorStatus:
      return cmd_anchor_status(input);
    case Command::kAnchorInspect:
      return cmd_anchor_inspect(input);
    case Command::kAnchorDiff:
      return cmd_anchor_diff(input);
    case Command::kAnchorRotate:
      return cmd_anchor_rotate(input);
    case Command::kKeygen:
      return cmd_keygen(input);
    case Command::kLedgerInit:
      return cmd_ledger_init(input);
    case Command::kLedgerShow:
      return cmd_ledger_show(input);
    case Command::kLedgerProve:
      return cmd_ledger_prove(input);
    case Command::kLedgerVerify:
      return cmd_ledger_verify(input);
    case Command::kLedgerFsck:
      return cmd_ledger_fsck(input);
    case Command::kLedgerExport:
      return cmd_ledger_export(input);
    case Command::kWitness:
      return cmd_witness(input);
    case Command::kVerify:
      return cmd_verify(input);
    case Command::kModels:
      return cmd_models(input);
    case Command::kVersion:
      return cmd_version(input);
    case Command::kHelp:
      break;  // answered before the settings are merged
  }
  FP_UNREACHABLE();
}

Result<int> help_on(const std::vector<std::string>& words) {
  std::string name;
  for (const std::string& word : words) name += (name.empty() ? "" : " ") + word;
  if (name.empty()) {
    print_out(help_overview());
    return 0;
  }
  if (const std::string group = help_group(name); !group.empty()) {
    print_out(group);
    return 0;
  }
  FP_ASSIGN(const CommandLine line, parse_command_line(words));  // names a wrong command
  print_out(help_command(line.command));
  return 0;
}

Result<int> run_program(std::span<const std::string> args) {
  FP_ASSIGN(const CommandLine line, parse_command_line(args));
  if (line.command == Command::kHelp) return help_on(line.positionals);
  if (line.help) {
    print_out(help_command(line.command));
    return 0;
  }
  FP_ASSIGN(const std::vector<Layer> layers, read_layers(line));
  FP_ASSIGN(Settings settings, merge_settings(line.command, layers));
  if (settings.all().count("print-config") != 0 && settings.flag("print-config")) {
    print_out(print_config(line.command, settings));
    return 0;
  }
  FP_TRY(start_log(line.command, settings));
  for (const std::string& name : unknown_environment(environ))
    log_warn("unknown environment variable " + name);
  return dispatch({line.command, std::move(settings), line.positionals});
}

int run_and_report(std::span<const std::string> args) {
  const Result<int> code = run_program(args);
  if (code && std::fflush(stdout) == 0) return *code;
  const Error error =
      code ? Error{ErrorKind::kIo, "io_write", "standard output cannot be written", ""}
           : code.error();
  std::fflush(stdout);
  std::fprintf(stderr, "fieldprint: %s: %s\n", error.code.c_str(), error.message.c_str());
  return exit_code(error);
}

}  // namespace
}  // namespace fieldprint::app

int main(int argc, char** argv) {
  try {
    return fieldprint::app::run_and_report(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const std::bad_alloc&) {
    std::fputs("fieldprint: memory_exhausted: no memory left\n", stderr);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fieldprint: internal: %s\n", error.what());
  }
  return 1;
}
