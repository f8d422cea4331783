#include "supervisor/projection.h"

#include <bit>
#include <cmath>
#include <string>

namespace fieldprint {
namespace {

constexpr std::string_view kStreamDomain = "fieldprint/projection/v1\n";
constexpr std::string_view kMatrixDomain = "fieldprint/projection-matrix/v1\n";

double dot(const double* a, const double* b, std::size_t n) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// Block b of row r is SHA-256(domain, seed, r, b); four entries from each.
void raw_row(const FingerprintSeed& seed, std::uint32_t row, double* out, std::size_t n) {
  Sha256 hash;
  for (std::size_t i = 0; i < n; i += 4) {
    hash.update(kStreamDomain).update(seed).update_u32(row);
    const Digest256 block = hash.update_u32(static_cast<std::uint32_t>(i / 4)).finish();
    for (std::size_t j = 0; j < 4 && i + j < n; ++j) {
      int ones = 0;
      for (std::size_t b = 0; b < 8; ++b) ones += std::popcount(block[8 * j + b]);
      out[i + j] = ones - 32;
    }
  }
}

}  // namespace

Result<std::vector<std::int32_t>> projection_matrix(std::int32_t hidden,
                                                    const FingerprintSeed& seed) {
  const auto n = static_cast<std::size_t>(hidden);
  std::vector<double> rows(kFingerprintDims * n);
  for (std::size_t r = 0; r < kFingerprintDims; ++r) {
    double* v = rows.data() + r * n;
    raw_row(seed, static_cast<std::uint32_t>(r), v, n);
    for (int pass = 0; pass < 2; ++pass) {  // twice is enough: Parlett, Kahan
      for (std::size_t before = 0; before < r; ++before) {
        const double* u = rows.data() + before * n;
        const double c = dot(v, u, n);
        for (std::size_t i = 0; i < n; ++i) v[i] -= c * u[i];
      }
    }
    const double norm = std::sqrt(dot(v, v, n));
    if (!(norm > 1.0)) {
      return fail(ErrorKind::kInvalid, "fingerprint_recipe_invalid",
                  "rows of the projection matrix depend on each other; take another seed");
    }
    for (std::size_t i = 0; i < n; ++i) v[i] /= norm;
  }
  std::vector<std::int32_t> matrix(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    matrix[i] = static_cast<std::int32_t>(std::floor(rows[i] * 16777216.0 + 0.5));
  }
  return matrix;
}

Digest256 projection_digest(const std::vector<std::int32_t>& matrix) {
  Sha256 hash;
  hash.update(kMatrixDomain);
  std::string row;
  for (const std::int32_t entry : matrix) {
    const auto bits = static_cast<std::uint32_t>(entry);
    for (int shift = 0; shift < 32; shift += 8) row.push_back(static_cast<char>(bits >> shift));
    if (row.size() < 4096) continue;
    hash.update(row);
    row.clear();
  }
  return hash.update(row).finish();
}

}  // namespace fieldprint
