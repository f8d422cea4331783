// Whether the fingerprints of a receipt's chains are those of its model, prompt and tokens.
#pragma once

#include <vector>

#include "app/support/model_stack.h"
#include "ledger/receipt_verify.h"
#include "runner/cpu/cpu_runner.h"

namespace fieldprint::app {

// Where the states are computed again.
struct FingerprintPlace {
  const ModelStack& model;
  AnchorBinding anchor;
  std::vector<TokenSpan> prompt;
  CpuRunnerOptions runner;  // kv_tokens and max_step_tokens are chosen by the check
};

// The check "fingerprints". tokens[i]: token ids of choice i, which the receipt commits to; empty:
// not known. Byte for byte where the profile here is the receipt's and an invariant one, else by
// distance under the anchor's limits. Fails with fingerprint_<verdict> or the error of
// verify_fingerprints_*; not checked where there is nothing to compare with. Errors: those of
// make_cpu_runner and the engine.
Result<ReceiptCheck> check_fingerprints(const FingerprintPlace& place, const ReceiptReport& report,
                                        const std::vector<std::vector<TokenId>>& tokens);

}  // namespace fieldprint::app
