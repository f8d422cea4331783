// The matrix products of supervision, by the widest instructions of this machine. Bits are the
// same whatever those are: one product is in integers, the other adds each sum's terms one after
// another and only computes several sums side by side (-ffp-contract=off keeps products rounded).
//
// Internal to src/supervisor. Thread rule: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace fieldprint {

// One instruction set's loops; raw pointers, since the files that hold them must not instantiate
// inline functions that code for other machines shares.
struct Products {
  // out[r] = sum_i matrix[r][i] * x[i] over [rows][n]; no partial sum may leave 63 bits.
  void (*integer)(const std::int32_t* matrix, const std::int32_t* x, std::size_t n,
                  std::int64_t* out, std::size_t rows);
  // out[r] = sum over ascending i of columns[i][r] * x[i]; columns: [n][sums].
  void (*ordered)(const float* columns, const double* x, std::size_t n, double* out,
                  std::size_t sums);
  // x[i] = floor(state[i] * 65536 + 1/2); false, and x is not written, where an element is not
  // within +-limit. limit <= 16384.
  bool (*fixed_point)(const float* state, float limit, std::int32_t* x, std::size_t n);
};

// The best ones for this machine.
const Products& products();
// All that this machine can run, portable first. For tests.
std::span<const Products* const> all_products();

}  // namespace fieldprint
