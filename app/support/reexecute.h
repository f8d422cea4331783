// Runs a receipt's request again and compares the tokens.
#pragma once

#include <string>

#include "app/config/settings.h"
#include "ledger/receipt_verify.h"

namespace fieldprint::app {

// The check "reexecution". It is made only where equal bits can be expected: the receipt was
// made in the `invariant` profile, and model, template, anchor and profile here are those of
// the receipt. Anything else is said and counts as not checked. request: the body's bytes,
// already found to be the receipt's. Errors: those of opening model and anchor, of parsing
// the request and of the engine.
Result<ReceiptCheck> reexecute(const Settings& settings, const Receipt& receipt,
                               const std::string& request);

}  // namespace fieldprint::app
