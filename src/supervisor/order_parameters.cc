#include <cmath>

#include "core/check.h"
#include "supervisor/pacemaker.h"

namespace fieldprint {
namespace {

struct Sums {
  std::vector<double> total;  // sum of m_i
  double squares = 0;         // sum of |m_i|^2
  double cosines = 0;         // sum of c_i
  double cosine_squares = 0;  // sum of c_i^2
  double agents = 0;

  void add(std::span<const double> mean, std::span<const double> reference, double sign) {
    double cosine = 0;
    for (std::size_t d = 0; d < mean.size(); ++d) {
      total[d] += sign * mean[d];
      squares += sign * mean[d] * mean[d];
      cosine += mean[d] * reference[d];
    }
    cosines += sign * cosine;
    cosine_squares += sign * cosine * cosine;
    agents += sign;
  }
  double rho() const { return cosines / agents; }
  double r2() const {
    double square = 0;
    for (const double x : total) square += x * x;
    return (square - squares) / (agents * (agents - 1));
  }
  double shared() const { return (cosines * cosines - cosine_squares) / (agents * (agents - 1)); }
};

// Standard error of a statistic from its values with one agent left out each.
double jackknife_error(const std::vector<double>& left_out) {
  const auto n = static_cast<double>(left_out.size());
  double mean = 0;
  for (const double x : left_out) mean += x / n;
  double sum = 0;
  for (const double x : left_out) sum += (x - mean) * (x - mean);
  return std::sqrt((n - 1) / n * sum);
}

}  // namespace

OrderParameters order_parameters(std::span<const double> means, std::span<const double> reference) {
  const std::size_t dims = reference.size();
  FP_CHECK(dims > 0 && means.size() % dims == 0);
  OrderParameters out;
  out.agents = means.size() / dims;
  if (out.agents == 0) return out;
  const auto mean_of = [&](std::size_t i) { return means.subspan(i * dims, dims); };
  Sums sums{std::vector<double>(dims, 0.0)};
  for (std::size_t i = 0; i < out.agents; ++i) sums.add(mean_of(i), reference, 1);
  out.rho = sums.rho();
  if (out.agents < 2) return out;
  out.r2 = sums.r2();
  out.shared = sums.shared();
  out.excess = *out.r2 - *out.shared;
  if (out.agents < 3) return out;
  std::vector<double> rho;
  std::vector<double> r2;
  std::vector<double> excess;
  for (std::size_t i = 0; i < out.agents; ++i) {
    Sums others = sums;
    others.add(mean_of(i), reference, -1);
    rho.push_back(others.rho());
    r2.push_back(others.r2());
    excess.push_back(others.r2() - others.shared());
  }
  out.rho_error = jackknife_error(rho);
  out.r2_error = jackknife_error(r2);
  out.excess_error = jackknife_error(excess);
  return out;
}

}  // namespace fieldprint
