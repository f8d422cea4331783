// Choices that all runners share.
#pragma once

#include <cstdint>
#include <functional>

namespace fieldprint {

// kFast: every layout and tile that is faster. kInvariant: a token's bits do not depend on the
// batch it is computed in; slower.
enum class NumericProfile : std::uint8_t { kFast, kInvariant };

// Called while weights load with the share done, 0..1.
using LoadProgress = std::function<void(double)>;

}  // namespace fieldprint
