// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel Random
// Numbers: As Easy as 1, 2, 3", SC 2011).
//
// A draw is a pure function of (seed, counter): no state to save, restore or share,
// so a sequence samples the same tokens whatever runs beside it in the batch, and a
// preempted or rolled-back one continues where it was.
#pragma once

#include <array>
#include <cstdint>

namespace fieldprint {

using PhiloxBlock = std::array<std::uint32_t, 4>;
using PhiloxKey = std::array<std::uint32_t, 2>;

// One 128-bit block of the stream `key` at position `counter`.
PhiloxBlock philox4x32(PhiloxBlock counter, PhiloxKey key);

// Uniform in [0, 1) with 53 random bits, for position `step` of stream `seed`.
double uniform_at(std::uint64_t seed, std::uint64_t step);

}  // namespace fieldprint
