// Pieces of the line-based C2SP formats. Internal to src/merkle.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "merkle/hash.h"

namespace fieldprint {

// The next line, without its newline. False at the end, or when the newline is missing.
bool take_line(std::string_view& rest, std::string_view& line);

// ASCII decimal without sign, leading zeros, or values over 2^63-1.
bool parse_decimal(std::string_view text, std::uint64_t& value);

// Base64 of exactly 32 bytes.
bool parse_hash(std::string_view text, Digest256& hash);
std::string print_hash(const Digest256& hash);

}  // namespace fieldprint
