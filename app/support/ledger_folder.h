// Which ledger a command means, whose keys it believes, and how it prints tables.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "app/config/settings.h"
#include "ledger/ledger_reader.h"

namespace fieldprint::app {

struct LedgerFolder {
  std::string dir;
  LedgerTrust trust;
  bool keys_from_folder = false;  // nobody vouched for them but the folder itself
};

// positional: the folder named on the command line; empty: that of the trust folder. The public
// keys come from --log-policy, else from the folder's own log.policy. Errors: ledger_missing,
// ledger_policy, those of load_policy.
Result<LedgerFolder> find_ledger(const Settings& settings, const std::string& positional);

std::unique_ptr<LedgerReader> make_reader(const LedgerFolder& folder);

// Prints rows: aligned with a heading on a terminal, tab-separated without one elsewhere.
void print_rows(const std::vector<std::string>& heading,
                const std::vector<std::vector<std::string>>& rows);

// "2026-11-24T12:00:00.000Z"
std::string time_text_ms(std::int64_t unix_ms);

}  // namespace fieldprint::app
