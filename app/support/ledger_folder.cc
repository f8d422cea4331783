#include "app/support/ledger_folder.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "app/support/trust.h"

namespace fieldprint::app {

Result<LedgerFolder> find_ledger(const Settings& settings, const std::string& positional) {
  LedgerFolder folder;
  folder.dir = positional.empty() ? trust_dir(settings) + "/ledger" : positional;
  Env& env = Env::real();
  FP_ASSIGN(const bool exists, env.exists(folder.dir + "/checkpoint"));
  if (!exists)
    return fail(ErrorKind::kNotFound, "ledger_missing",
                folder.dir +
                    ": no ledger here (no checkpoint); 'fieldprint anchor init' makes a "
                    "trust folder with one, 'fieldprint ledger init' one alone");
  const std::string& given = settings.text("log-policy");
  folder.keys_from_folder = given.empty();
  FP_ASSIGN(const Policy policy,
            load_policy(env, given.empty() ? folder.dir + "/" + kPolicyFileName : given));
  FP_ASSIGN(folder.trust, trust_of(policy));
  return folder;
}

std::unique_ptr<LedgerReader> make_reader(const LedgerFolder& folder) {
  return std::make_unique<LedgerReader>(Env::real(), folder.dir, folder.trust);
}

void print_rows(const std::vector<std::string>& heading,
                const std::vector<std::vector<std::string>>& rows) {
  if (::isatty(STDOUT_FILENO) == 0) {
    for (const std::vector<std::string>& row : rows) fmt::print("{}\n", fmt::join(row, "\t"));
    return;
  }
  std::vector<std::size_t> widths;
  widths.reserve(heading.size());
  for (const std::string& cell : heading) widths.push_back(cell.size());
  for (const std::vector<std::string>& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  const auto print = [&](const std::vector<std::string>& row) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i)
      line += i + 1 == row.size() ? row[i] : fmt::format("{:<{}}  ", row[i], widths[i]);
    fmt::print("{}\n", line);
  };
  print(heading);
  for (const std::vector<std::string>& row : rows) print(row);
}

std::string time_text_ms(std::int64_t unix_ms) {
  const std::time_t seconds = static_cast<std::time_t>(unix_ms / 1000);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(seconds), unix_ms % 1000);
}

}  // namespace fieldprint::app
