// Checking a receipt offline, from public keys alone.
//
// Each check holds, fails with a named code, or was not made, with the reason: a check that
// was not made is never counted as one that held.
// Thread rule: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "ledger/receipt.h"
#include "merkle/policy.h"

namespace fieldprint {

enum class CheckOutcome : std::uint8_t { kHolds, kFails, kNotChecked };
const char* check_outcome_name(CheckOutcome outcome);  // "holds", "fails", "not checked"

struct ReceiptCheck {
  std::string name;  // stable: "signature", "leaf", "inclusion", ...
  CheckOutcome outcome = CheckOutcome::kNotChecked;
  std::string code;    // of the failure; empty otherwise
  std::string detail;  // one line for people
};

// What the parties of the conversation may hold beside the receipt.
struct ReceiptEvidence {
  std::optional<std::string> request;               // exact bytes of the request body
  std::optional<std::vector<std::string>> choices;  // response text by choice
};

struct ReceiptReport {
  Receipt receipt;
  std::string digest;  // "sha256:<hex>" of the payload
  // Of the file, unchecked: supervisor/receipt_chain.h does that.
  std::vector<std::string> chains;
  std::vector<ReceiptCheck> checks;

  bool failed() const;
  void add(ReceiptCheck check) { checks.push_back(std::move(check)); }
};

// Checks, in order: signature, leaf, inclusion, time, request, response. The Result is an
// error only where there is nothing to report on: receipt_file_invalid, receipt_too_large,
// dsse_*, and receipt_signature when the log that the policy names did not sign the payload, so
// that nothing in it is worth showing.
Result<ReceiptReport> verify_receipt(std::string_view file_text, const Policy& policy,
                                     const ReceiptEvidence& evidence);

}  // namespace fieldprint
