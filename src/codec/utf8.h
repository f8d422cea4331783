// UTF-8 checks (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF).
#pragma once

#include <cstddef>
#include <string_view>

namespace fieldprint {

// Length in bytes of the longest prefix that is whole, valid UTF-8.
std::size_t utf8_valid_prefix(std::string_view text);

inline bool utf8_valid(std::string_view text) { return utf8_valid_prefix(text) == text.size(); }

}  // namespace fieldprint
