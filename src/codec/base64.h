// Base64 (RFC 4648 section 4: +, /, padding), one spelling for each value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace fieldprint {

std::string base64_encode(std::span<const std::uint8_t> bytes);
std::string base64_encode(std::string_view bytes);

// Refuses what another spelling could hide in: white space, missing padding, bits set behind
// the last byte. Errors: base64_invalid.
Result<std::vector<std::uint8_t>> base64_decode(std::string_view text);

// As base64_decode, and also takes the URL alphabet (-, _) of RFC 4648 section 5, with
// padding; one text may not mix the two. Errors: base64_invalid.
Result<std::vector<std::uint8_t>> base64_decode_any(std::string_view text);

}  // namespace fieldprint
