// The subcommands. Each gets its merged settings and returns the exit code, or the error that
// main() prints as "fieldprint: <code>: <message>".
#pragma once

#include <string>
#include <vector>

#include "app/config/command_line.h"

namespace fieldprint::app {

struct CommandInput {
  Command command;
  Settings settings;
  std::vector<std::string> positionals;
};

Result<int> cmd_serve(const CommandInput& input);
Result<int> cmd_run(const CommandInput& input);
Result<int> cmd_complete(const CommandInput& input);
Result<int> cmd_tokenize(const CommandInput& input);
Result<int> cmd_bench(const CommandInput& input);
Result<int> cmd_anchor_compile(const CommandInput& input);
Result<int> cmd_anchor_calibrate(const CommandInput& input);
Result<int> cmd_anchor_show(const CommandInput& input);
Result<int> cmd_anchor_list(const CommandInput& input);
Result<int> cmd_anchor_init(const CommandInput& input);
Result<int> cmd_anchor_sign(const CommandInput& input);
Result<int> cmd_anchor_promote(const CommandInput& input);
Result<int> cmd_anchor_revoke(const CommandInput& input);
Result<int> cmd_anchor_override(const CommandInput& input);
Result<int> cmd_anchor_status(const CommandInput& input);
Result<int> cmd_anchor_inspect(const CommandInput& input);
Result<int> cmd_anchor_diff(const CommandInput& input);
Result<int> cmd_anchor_rotate(const CommandInput& input);
Result<int> cmd_keygen(const CommandInput& input);
Result<int> cmd_ledger_init(const CommandInput& input);
Result<int> cmd_ledger_show(const CommandInput& input);
Result<int> cmd_ledger_prove(const CommandInput& input);
Result<int> cmd_ledger_verify(const CommandInput& input);
Result<int> cmd_ledger_fsck(const CommandInput& input);
Result<int> cmd_ledger_export(const CommandInput& input);
Result<int> cmd_witness(const CommandInput& input);
Result<int> cmd_verify(const CommandInput& input);
Result<int> cmd_models(const CommandInput& input);
Result<int> cmd_version(const CommandInput& input);

}  // namespace fieldprint::app
