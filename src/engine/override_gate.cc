#include "engine/override_gate.h"

#include <utility>

namespace fieldprint {
namespace {

constexpr const char* kUsed = "used";
constexpr std::size_t kUsesListed = 64;

tl::unexpected<Error> not_logged(const Error& error) {
  return fail(ErrorKind::kUnavailable, "override_not_logged",
              "the override was not recorded in the ledger, so it does not run (" + error.code +
                  ": " + error.message + ")");
}

Entry use_entry(const SignedStatement& statement, const OverrideRequest& request) {
  Entry entry;
  entry.kind = EntryKind::kOverride;
  entry.subject = statement.digest;
  entry.body = {{"envelope", statement.envelope},
                {"event", kUsed},
                {"request_commitment", request.request_commitment},
                {"response", request.response_id},
                {"statement_digest", statement.digest}};
  return entry;
}

}  // namespace

Result<OverrideGrant> OverrideGate::admit(const OverrideRequest& request) {
  FP_ASSIGN(const SignedStatement statement, judge_.check(request.envelope, request.use));
  const Result<std::uint64_t> index = log_.record(use_entry(statement, request));
  if (!index) return not_logged(index.error());
  const Result<std::uint64_t> first = log_.first_use(statement.digest);
  if (!first) return not_logged(first.error());
  if (*first != *index) {
    return fail(ErrorKind::kForbidden, "override_replayed",
                "override " + statement.digest + " was used already, entry " +
                    std::to_string(*first) + " of the ledger");
  }
  return OverrideGrant{statement.digest};
}

Result<std::uint64_t> LedgerOverrideLog::record(const Entry& use) {
  return ledger_.commit(use, Durability::kDurable, patience_);
}

Result<std::uint64_t> LedgerOverrideLog::first_use(const std::string& statement_digest) {
  std::uint64_t oldest = kNoIndexLimit;
  for (std::uint64_t before = kNoIndexLimit;;) {
    FP_ASSIGN(const std::vector<FoundEntry> page,
              ledger_.list(EntryKind::kOverride, statement_digest, before, kUsesListed));
    for (const FoundEntry& found : page) {
      const auto event = found.entry.body.find("event");
      const bool used = event != found.entry.body.end() && event->second.string() != nullptr &&
                        *event->second.string() == kUsed;
      if (used) oldest = found.index;
      before = found.index;
    }
    if (page.size() < kUsesListed) break;
  }
  if (oldest == kNoIndexLimit) {
    return fail(ErrorKind::kInternal, "ledger_entry_missing",
                "the ledger does not list the use that was just recorded");
  }
  return oldest;
}

}  // namespace fieldprint
