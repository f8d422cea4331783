// Fingerprint chains and receipts: what a receipt says of supervision, and whether the chains in
// its file are those it was issued with. Format: docs/formats/receipt.md.
//
// Thread rule: pure functions.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "ledger/receipt.h"
#include "ledger/receipt_verify.h"
#include "supervisor/chain.h"
#include "supervisor/report.h"

namespace fieldprint {

ReceiptSupervision receipt_supervision(const SupervisionReport& report);

// What the chain of one supervised choice belongs to, from the receipt alone.
ChainBinding receipt_binding(const Receipt& receipt, std::size_t choice);

// The chain of one supervised choice, checked: it is the receipt's, whole, and says what the
// receipt says. Errors: receipt_chain_missing (not in the file, or its end was never signed);
// receipt_chain_anchor (bound to an anchor that did not stand in front);
// fingerprint_segment_invalid (forged or damaged bytes); fingerprint_chain_broken (of another
// response, model, recipe, anchor or profile, or segments missing inside); receipt_chain_head (cut
// short, or continued); receipt_chain_counts (gaps, rollbacks or tokens are not those stated).
Result<std::vector<Segment>> open_receipt_chain(const Receipt& receipt,
                                                std::span<const std::string> chains,
                                                std::size_t choice);

// The check "chain" of a receipt: all its choices.
ReceiptCheck check_receipt_chains(const Receipt& receipt, std::span<const std::string> chains);

}  // namespace fieldprint
