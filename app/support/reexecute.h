// Runs a receipt's request again and compares the tokens.
#pragma once

#include <vector>

#include "app/config/settings.h"
#include "ledger/receipt_verify.h"

namespace fieldprint::app {

// The checks "reexecution" and "fingerprints". The first is made only where equal bits can be
// expected: the receipt was made in the `invariant` profile and without rollbacks, and model,
// template, anchor and profile here are those of the receipt. The second takes the tokens that came
// out again, or else those that the response given has, if they are the receipt's. Anything else
// is said and counts as not checked. evidence: found to be the receipt's; its request is there.
// Errors: those of opening model and anchor, of parsing the request and of the engine.
Result<std::vector<ReceiptCheck>> reexecute(const Settings& settings, const ReceiptReport& report,
                                            const ReceiptEvidence& evidence);

}  // namespace fieldprint::app
