// Identifiers of requests and responses, and the random numbers behind them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace fieldprint {

// prefix + 32 hexadecimal digits from the operating system's generator.
std::string make_id(std::string_view prefix);

// 1 to 128 characters of [A-Za-z0-9._-]: what is safe to echo in a header and a log.
bool valid_request_id(std::string_view id);

// A seed below 2^53, which every JSON reader keeps exact.
std::uint64_t draw_seed();

}  // namespace fieldprint
