#include "ledger/ledger_verify.h"

#include <algorithm>

#include "ledger/ledger_reader.h"
#include "ledger/tree_walk.h"
#include "merkle/checkpoint.h"

namespace fieldprint {

bool LedgerReport::good() const {
  return std::all_of(findings.begin(), findings.end(),
                     [](const LedgerFinding& finding) { return finding.harmless; });
}

Result<LedgerReport> verify_ledger(Env& env, const std::string& dir, const LedgerTrust& trust,
                                   const std::vector<std::string>& earlier) {
  LedgerReader reader(env, dir, trust);
  LedgerReport report;
  FP_ASSIGN(report.checkpoint, reader.checkpoint());
  const std::uint64_t size = report.checkpoint.size;

  std::vector<SignedCheckpoint> kept{report.checkpoint};
  for (const std::string& text : earlier) {
    FP_ASSIGN(kept.emplace_back(),
              open_checkpoint(text, trust.origin, trust.log_keys, trust.cosigners));
  }
  std::map<std::uint64_t, Digest256> roots{{0, empty_root()}};
  for (const SignedCheckpoint& one : kept) roots.emplace(one.size, empty_root());
  TreeWalk walk(env, dir);
  const auto ignore = [](std::uint64_t, const Entry&) { return Status{}; };
  FP_ASSIGN(const bool whole, walk.walk(size, roots, ignore, report));
  for (const SignedCheckpoint& one : kept) {
    const std::string name = "checkpoint of " + std::to_string(one.size) + " entries";
    if (one.size > size)
      add_finding(report, {"root_mismatch", name,
                           "the log has only " + std::to_string(size) +
                               " entries now: it was rolled back"});
    else if (whole && roots.at(one.size) != one.root)
      add_finding(report, {"root_mismatch", name,
                           "the entries lead to another root than the one that was signed"});
  }
  return report;
}

}  // namespace fieldprint
