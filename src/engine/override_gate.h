// The gate of the override pathway: what stands between a signed override and a run without
// the anchor. Fail closed: whatever goes wrong, the request does not run.
//
// Order: the statement is judged (signatures, scope, time, single use) -> its use is appended
// to the ledger and durable there -> the ledger is asked which use came first -> the grant.
// The ledger decides between two processes that were shown one override at the same moment:
// both append, the smaller index has it.
//
// Thread rule: any thread; admit() blocks on the disk.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "anchor/registry.h"
#include "core/error.h"
#include "engine/request.h"
#include "ledger/ledger.h"

namespace fieldprint {

// Who says whether an override holds. AnchorRegistry is one.
class OverrideJudge {
 public:
  virtual ~OverrideJudge() = default;
  virtual Result<SignedStatement> check(std::string_view envelope, const OverrideUse& use) = 0;
};

// Where uses are written.
class OverrideLog {
 public:
  virtual ~OverrideLog() = default;
  // Returns the entry's index when it is durable. On an error the use counts as not made.
  virtual Result<std::uint64_t> record(const Entry& use) = 0;
  // Index of the oldest use of the statement.
  virtual Result<std::uint64_t> first_use(const std::string& statement_digest) = 0;
};

struct OverrideRequest {
  std::string envelope;  // DSSE text, as the client sent it
  OverrideUse use;
  std::string response_id;
  std::string request_commitment;  // the receipt's: salted, so it may stand in the log
};

class OverrideGate {
 public:
  // Both must outlive the gate.
  OverrideGate(OverrideJudge& judge, OverrideLog& log) : judge_(judge), log_(log) {}
  virtual ~OverrideGate() = default;

  // Errors: those of the judge (override_*, threshold_not_met, ...); override_replayed;
  // override_not_logged (kUnavailable; the message holds the ledger's own code).
  virtual Result<OverrideGrant> admit(const OverrideRequest& request);

 private:
  OverrideJudge& judge_;
  OverrideLog& log_;
};

// The real ones. Registry and ledger must outlive them.
class RegistryJudge final : public OverrideJudge {
 public:
  explicit RegistryJudge(AnchorRegistry& registry) : registry_(registry) {}
  Result<SignedStatement> check(std::string_view envelope, const OverrideUse& use) override {
    return registry_.check_override(envelope, use);
  }

 private:
  AnchorRegistry& registry_;
};

class LedgerOverrideLog final : public OverrideLog {
 public:
  LedgerOverrideLog(Ledger& ledger, std::chrono::milliseconds patience)
      : ledger_(ledger), patience_(patience) {}
  Result<std::uint64_t> record(const Entry& use) override;
  Result<std::uint64_t> first_use(const std::string& statement_digest) override;

 private:
  Ledger& ledger_;
  const std::chrono::milliseconds patience_;
};

}  // namespace fieldprint
