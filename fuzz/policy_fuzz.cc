// A policy that reads: more cosignatures never turn a met quorum into an unmet one.
#include "core/check.h"
#include "fuzz/input.h"
#include "merkle/policy.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto policy = fieldprint::Policy::parse(fuzz_text(data, size));
  if (!policy) return 0;
  std::vector<fieldprint::VerifiedSignature> cosignatures;
  bool met = policy->quorum_met(cosignatures);
  for (const fieldprint::PolicyWitness& witness : policy->witnesses()) {
    cosignatures.push_back({witness.key, 1, 0});
    const bool now = policy->quorum_met(cosignatures);
    FP_CHECK(now || !met);
    met = now;
  }
  FP_CHECK(met);  // all witnesses together are always enough
  FP_CHECK(!policy->open("example.com/log\n1\nAAAA\n"));
  return 0;
}
