// Eigenvalues of small symmetric matrices. Internal to src/supervisor.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "core/error.h"

namespace fieldprint {

struct SymmetricEigen {
  std::vector<double> values;   // [n], in the order of the vectors
  std::vector<double> vectors;  // [n][n]: row i belongs to values[i]; orthonormal
};

// Cyclic Jacobi rotations (Golub, Van Loan, "Matrix Computations", 8.5) on a row-major n x n
// matrix, of which the upper triangle is read. O(n^3) for each of about ten sweeps: n up to some
// hundreds. Errors: matrix_not_finite, matrix_no_convergence (60 sweeps; not seen).
Result<SymmetricEigen> symmetric_eigen(std::span<const double> matrix, std::size_t n);

// Row-major matrix^(-1/2), symmetric. Errors: as above, matrix_not_positive (an eigenvalue not
// above 1e-12 of the largest).
Result<std::vector<double>> inverse_square_root(std::span<const double> matrix, std::size_t n);

}  // namespace fieldprint
