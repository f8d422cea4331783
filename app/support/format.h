// Small numbers-to-text helpers of the command line.
#pragma once

#include <cstdint>
#include <string>

namespace fieldprint::app {

std::string human_bytes(std::uint64_t bytes);         // "91.2 MiB"
std::string human_count(std::int64_t count);          // "134.5 M"
std::string short_digest(const std::string& digest);  // "sha256:0123456789ab"

}  // namespace fieldprint::app
