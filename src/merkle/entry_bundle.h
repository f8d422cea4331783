// Entry bundles of C2SP tlog-tiles: big-endian uint16 length and bytes, up to 256 times.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace fieldprint {

inline constexpr std::size_t kMaxEntryBytes = 65535;

// Errors: entry_too_large.
Status append_entry(std::string& bundle, std::string_view entry);

// Exactly `width` entries, 1..256; the views point into `bundle`. Errors: bundle_invalid
// (truncated, fewer or more entries).
Result<std::vector<std::string_view>> parse_entry_bundle(std::string_view bundle, int width);

}  // namespace fieldprint
