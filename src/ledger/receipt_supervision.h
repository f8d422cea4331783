// The `supervision` object of a receipt's choices: printer, parser, rules. Internal to the
// receipt's fields.
//
// Thread rule: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "codec/canonical_json.h"
#include "core/error.h"
#include "ledger/receipt.h"

namespace fieldprint {

inline constexpr std::size_t kReceiptDigestText = 71;  // "sha256:" and 64 digits
inline constexpr std::int64_t kReceiptCountMax = std::int64_t{1} << 40;

tl::unexpected<Error> bad_receipt_field(const std::string& field, const std::string& rule);
bool is_receipt_digest(std::string_view text);  // or "none"

// Errors of both: receipt_field_invalid; reading also json_*.
Status check_receipt_supervision(const ReceiptSupervision& supervision);
Result<ReceiptSupervision> read_receipt_supervision(const CanonicalValue& value);
CanonicalValue receipt_supervision_value(const ReceiptSupervision& supervision);

}  // namespace fieldprint
