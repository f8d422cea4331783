// ledger verify and ledger fsck: read everything, name every damage, change nothing.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "app/commands/commands.h"
#include "app/support/ledger_folder.h"
#include "app/support/paths.h"
#include "codec/base64.h"
#include "ledger/ledger_verify.h"

namespace fieldprint::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMaxCheckpointBytes = std::size_t{1} << 20;
constexpr int kDamaged = 2;  // exit code, as for any corrupt input

Json json_of(const LedgerFolder& folder, const LedgerReport& report) {
  Json kinds = Json::object();
  for (const auto& [kind, count] : report.kinds) kinds[std::string(kind_name(kind))] = count;
  Json findings = Json::array();
  for (const LedgerFinding& finding : report.findings)
    findings.push_back({{"code", finding.code},
                        {"where", finding.where},
                        {"message", finding.message},
                        {"harmless", finding.harmless}});
  return {{"folder", folder.dir},
          {"good", report.good()},
          {"keys_from_folder", folder.keys_from_folder},
          {"origin", report.checkpoint.origin},
          {"size", report.checkpoint.size},
          {"root", base64_encode(report.checkpoint.root)},
          {"time", time_text_ms(report.checkpoint.time_s * 1000)},
          {"entries", report.entries},
          {"kinds", std::move(kinds)},
          {"findings", std::move(findings)}};
}

int print_report(const CommandInput& input, const LedgerFolder& folder,
                 const LedgerReport& report) {
  const int code = report.good() ? 0 : kDamaged;
  if (input.settings.flag("json")) {
    const Json json = json_of(folder, report);
    fmt::print("{}\n", json.dump(-1, ' ', false, Json::error_handler_t::replace));
    return code;
  }
  std::vector<std::vector<std::string>> rows;
  rows.reserve(report.findings.size());
  for (const LedgerFinding& finding : report.findings)
    rows.push_back({finding.code, finding.where, finding.message});
  if (!rows.empty()) print_rows({"DAMAGE", "WHERE", "WHAT"}, rows);
  fmt::print(stderr, "{}: {} entries under a checkpoint of {}: {}\n", report.checkpoint.origin,
             report.entries, time_text_ms(report.checkpoint.time_s * 1000),
             report.good() ? "good" : fmt::format("{} damages", report.findings.size()));
  if (folder.keys_from_folder)
    fmt::print(stderr,
               "the public keys were the folder's own: this shows that it is whole, not whose it "
               "is; name keys you trust with --log-policy\n");
  return code;
}

std::string folder_argument(const CommandInput& input) {
  return input.positionals.empty() ? std::string() : input.positionals[0];
}

}  // namespace

Result<int> cmd_ledger_verify(const CommandInput& input) {
  FP_ASSIGN(const LedgerFolder folder, find_ledger(input.settings, folder_argument(input)));
  std::vector<std::string> earlier;
  for (const std::string& file : input.settings.list("checkpoint")) {
    FP_ASSIGN(earlier.emplace_back(), read_text_file(file, kMaxCheckpointBytes));
  }
  FP_ASSIGN(const LedgerReport report,
            verify_ledger(Env::real(), folder.dir, folder.trust, earlier));
  return print_report(input, folder, report);
}

Result<int> cmd_ledger_fsck(const CommandInput& input) {
  FP_ASSIGN(const LedgerFolder folder, find_ledger(input.settings, folder_argument(input)));
  FP_ASSIGN(const LedgerReport report, fsck_ledger(Env::real(), folder.dir, folder.trust));
  return print_report(input, folder, report);
}

}  // namespace fieldprint::app
