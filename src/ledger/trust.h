// Whose signatures a reader of a ledger accepts, and the file log.policy that names them: a C2SP
// tlog-policy with one log line and the log's own cosigner as witness "operator".
//
// The file in a ledger's own folder is a convenience for its owner. Who must not trust the
// folder takes the policy from elsewhere.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "crypto/note_key.h"
#include "merkle/policy.h"
#include "store/env.h"

namespace fieldprint {

struct LedgerTrust {
  std::string origin;
  std::vector<VerifierKey> log_keys;
  std::vector<VerifierKey> cosigners;  // may be empty: then no checkpoint has a time
};

inline constexpr const char* kPolicyFileName = "log.policy";

// The policy of a log without outside witnesses.
std::string print_operator_policy(const VerifierKey& log, const VerifierKey& cosigner);

// Log keys and witnesses of a policy that names one origin. Errors: ledger_policy (no log, or
// several origins).
Result<LedgerTrust> trust_of(const Policy& policy);

// Reads a policy file. Errors: those of Env, Policy::parse.
Result<Policy> load_policy(Env& env, const std::string& path);

}  // namespace fieldprint
