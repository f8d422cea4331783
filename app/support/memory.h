// How much memory there is, and whether a model fits into it.
#pragma once

#include <cstdint>
#include <string>

#include "core/error.h"

namespace fieldprint::app {

// Bytes this process may still take: MemAvailable of /proc/meminfo, or what the memory limit
// of its control group (version 2, so containers) leaves, whichever is less. 0 if unknown.
std::int64_t available_memory();

// Before anything is read: a process that takes more than there is gets killed by the kernel
// half-way, without a word. Nothing is refused where available_bytes is 0.
// Errors: memory_exhausted, with both needs and what would help.
Status check_memory(std::int64_t weight_bytes, std::int64_t kv_bytes, std::int64_t available_bytes);

// What one control group leaves: limit and use as the kernel prints them ("max" or bytes), and
// the part of the use that it takes back when asked. -1: no limit, or not readable.
// Exposed for tests.
std::int64_t group_memory_left(const std::string& limit, const std::string& current,
                               std::int64_t reclaimable_bytes);

}  // namespace fieldprint::app
