#include "ledger/trust.h"

namespace fieldprint {
namespace {
constexpr std::size_t kMaxPolicyBytes = 64U << 10;
}

std::string print_operator_policy(const VerifierKey& log, const VerifierKey& cosigner) {
  return "# Public keys of this log (C2SP tlog-policy).\nlog " + log.print() +
         "\nwitness operator " + cosigner.print() + "\nquorum operator\n";
}

Result<LedgerTrust> trust_of(const Policy& policy) {
  LedgerTrust trust;
  for (const PolicyLog& log : policy.logs()) {
    if (!trust.origin.empty() && trust.origin != log.key.name())
      return fail(ErrorKind::kInvalid, "ledger_policy",
                  "the policy names several logs, '" + trust.origin + "' and '" + log.key.name() +
                      "'; one is needed here");
    trust.origin = log.key.name();
    trust.log_keys.push_back(log.key);
  }
  if (trust.log_keys.empty())
    return fail(ErrorKind::kInvalid, "ledger_policy", "the policy has no log line");
  for (const PolicyWitness& witness : policy.witnesses()) trust.cosigners.push_back(witness.key);
  return trust;
}

Result<Policy> load_policy(Env& env, const std::string& path) {
  FP_ASSIGN(const std::vector<std::uint8_t> bytes, env.read_file(path, kMaxPolicyBytes));
  return Policy::parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

}  // namespace fieldprint
