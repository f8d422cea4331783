#include "supervisor/symmetric.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace fieldprint {
namespace {

constexpr int kMaxSweeps = 60;

// Rows p and q of `rows` rotated: the angle's cosine c and sine s.
void rotate_rows(std::vector<double>& rows, std::size_t n, std::size_t p, std::size_t q, double c,
                 double s) {
  for (std::size_t i = 0; i < n; ++i) {
    const double a = rows[p * n + i];
    const double b = rows[q * n + i];
    rows[p * n + i] = c * a - s * b;
    rows[q * n + i] = s * a + c * b;
  }
}

// Makes element (p, q) zero: A <- J^T A J, V <- J^T V.
void rotate(std::vector<double>& a, std::vector<double>& v, std::size_t n, std::size_t p,
            std::size_t q) {
  const double apq = a[p * n + q];
  if (apq == 0) return;
  const double tau = (a[q * n + q] - a[p * n + p]) / (2 * apq);
  const double t = (tau >= 0 ? 1 : -1) / (std::fabs(tau) + std::sqrt(1 + tau * tau));
  const double c = 1 / std::sqrt(1 + t * t);
  const double s = t * c;
  rotate_rows(a, n, p, q, c, s);
  for (std::size_t i = 0; i < n; ++i) {  // the same for columns
    const double x = a[i * n + p];
    const double y = a[i * n + q];
    a[i * n + p] = c * x - s * y;
    a[i * n + q] = s * x + c * y;
  }
  rotate_rows(v, n, p, q, c, s);
}

}  // namespace

Result<SymmetricEigen> symmetric_eigen(std::span<const double> matrix, std::size_t n) {
  FP_CHECK(n > 0 && matrix.size() == n * n);
  std::vector<double> a(n * n);
  std::vector<double> v(n * n, 0.0);
  double norm = 0;
  for (std::size_t i = 0; i < n; ++i) {
    v[i * n + i] = 1;
    for (std::size_t j = 0; j < n; ++j) {
      a[i * n + j] = matrix[std::min(i, j) * n + std::max(i, j)];
      norm += a[i * n + j] * a[i * n + j];
    }
  }
  if (!std::isfinite(norm)) {
    return fail(ErrorKind::kInvalid, "matrix_not_finite", "a symmetric matrix is not finite");
  }
  for (int sweep = 0; sweep < kMaxSweeps; ++sweep) {
    double off = 0;
    for (std::size_t p = 0; p < n; ++p) {
      for (std::size_t q = p + 1; q < n; ++q) off += a[p * n + q] * a[p * n + q];
    }
    if (off <= 1e-30 * norm) {
      SymmetricEigen result{std::vector<double>(n), std::move(v)};
      for (std::size_t i = 0; i < n; ++i) result.values[i] = a[i * n + i];
      return result;
    }
    for (std::size_t p = 0; p < n; ++p) {
      for (std::size_t q = p + 1; q < n; ++q) rotate(a, v, n, p, q);
    }
  }
  return fail(ErrorKind::kInternal, "matrix_no_convergence",
              "the eigenvalues of a symmetric matrix were not found");
}

Result<std::vector<double>> inverse_square_root(std::span<const double> matrix, std::size_t n) {
  FP_ASSIGN(const SymmetricEigen eigen, symmetric_eigen(matrix, n));
  const double largest = *std::ranges::max_element(eigen.values);
  std::vector<double> out(n * n, 0.0);
  for (std::size_t k = 0; k < n; ++k) {
    if (!(eigen.values[k] > 1e-12 * largest) || !(largest > 0)) {
      return fail(ErrorKind::kInvalid, "matrix_not_positive",
                  "a covariance matrix has a direction without variance");
    }
    const double scale = 1 / std::sqrt(eigen.values[k]);
    const double* row = eigen.vectors.data() + k * n;
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) out[i * n + j] += scale * row[i] * row[j];
    }
  }
  return out;
}

}  // namespace fieldprint
