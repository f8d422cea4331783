#include "merkle/policy.h"

#include <algorithm>

#include "merkle/text.h"

namespace fieldprint {

bool Policy::quorum_met(std::span<const VerifiedSignature> cosignatures) const {
  if (quorum_ == names_.size()) return true;
  std::vector<bool> met;  // per name; members come before their group
  for (const Name& name : names_) {
    if (name.members.empty()) {
      const VerifierKey& key = witnesses_[name.witness].key;
      met.push_back(std::any_of(cosignatures.begin(), cosignatures.end(),
                                [&](const VerifiedSignature& s) { return s.key == key; }));
    } else {
      const auto count = std::count_if(name.members.begin(), name.members.end(),
                                       [&](std::size_t member) { return met[member]; });
      met.push_back(static_cast<std::size_t>(count) >= name.threshold);
    }
  }
  return met[quorum_];
}

Result<VerifiedCheckpoint> Policy::open(std::string_view bytes) const {
  // The origin only selects keys here; checkpoint_open compares it once a signature holds.
  std::string_view rest = bytes, origin;
  std::vector<VerifierKey> log_keys, cosigners;
  take_line(rest, origin);
  for (const PolicyLog& log : logs_) {
    if (log.key.name() == origin) log_keys.push_back(log.key);
  }
  if (log_keys.empty()) {
    return fail(ErrorKind::kForbidden, "policy_no_log",
                "checkpoint: the policy has no log line for its origin");
  }
  for (const PolicyWitness& witness : witnesses_) cosigners.push_back(witness.key);
  FP_ASSIGN(VerifiedCheckpoint verified, checkpoint_open(bytes, origin, log_keys, cosigners));
  if (!quorum_met(verified.cosignatures)) {
    return fail(ErrorKind::kForbidden, "policy_quorum",
                "checkpoint: its cosignatures do not meet the quorum '" + names_[quorum_].name +
                    "' of the policy");
  }
  return verified;
}

}  // namespace fieldprint
