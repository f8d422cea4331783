// The projection matrix of a fingerprint recipe. Internal to src/supervisor.
#pragma once

#include <cstdint>
#include <vector>

#include "supervisor/fingerprint.h"

namespace fieldprint {

// [32][hidden] in units of 2^-24: raw entry (r, i) = (number of one bits in 8 bytes of a SHA-256
// stream) - 32, which is close to a Gaussian; rows then made orthonormal by Gram-Schmidt, twice
// for each row, in doubles, sums in ascending order of i; then floor(2^24 v + 0.5). Errors:
// fingerprint_recipe_invalid (rows that depend on each other: not for any seed that was met).
Result<std::vector<std::int32_t>> projection_matrix(std::int32_t hidden,
                                                    const FingerprintSeed& seed);
Digest256 projection_digest(const std::vector<std::int32_t>& matrix);

}  // namespace fieldprint
