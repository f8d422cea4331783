// Hexadecimal text, lower case only, so that one value has one spelling.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace fieldprint {

std::string hex_encode(std::span<const std::uint8_t> bytes);

// Errors: hex_invalid (odd length, or anything but 0-9a-f; upper case is refused).
Result<std::vector<std::uint8_t>> hex_decode(std::string_view text);

}  // namespace fieldprint
