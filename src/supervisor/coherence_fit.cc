#include "supervisor/coherence_fit.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include "core/check.h"
#include "supervisor/symmetric.h"

namespace fieldprint {
namespace {

tl::unexpected<Error> invalid(const std::string& what) {
  return fail(ErrorKind::kInvalid, "coherence_fit_invalid", "coherence fit: " + what);
}

// The samples of both groups, standardised, each around its group's mean.
struct Standardised {
  std::size_t rows = 0;
  std::size_t hidden = 0;
  std::vector<double> mean;      // [hidden]: of the background
  std::vector<double> contrast;  // [hidden]: in units of the states
  std::vector<double> scale;     // [hidden]: s
  std::vector<double> z;         // [rows][hidden]
};

std::vector<double> mean_of(std::span<const float> states, std::size_t hidden) {
  std::vector<double> mean(hidden, 0.0);
  for (std::size_t at = 0; at < states.size(); at += hidden) {
    for (std::size_t i = 0; i < hidden; ++i) mean[i] += double{states[at + i]};
  }
  const std::size_t count = states.size() / hidden;
  for (double& m : mean) m /= static_cast<double>(count);
  return mean;
}

double dot(const double* a, const double* b, std::size_t n) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

Result<Standardised> standardise(std::size_t hidden, std::span<const float> background,
                                 std::span<const float> anchored) {
  Standardised out;
  out.hidden = hidden;
  out.rows = (background.size() + anchored.size()) / hidden;
  out.mean = mean_of(background, hidden);
  const std::vector<double> other = mean_of(anchored, hidden);
  out.z.reserve(out.rows * hidden);
  for (std::size_t at = 0; at < background.size(); ++at) {
    out.z.push_back(double{background[at]} - out.mean[at % hidden]);
  }
  for (std::size_t at = 0; at < anchored.size(); ++at) {
    out.z.push_back(double{anchored[at]} - other[at % hidden]);
  }
  out.contrast.resize(hidden);
  out.scale.assign(hidden, 0.0);
  for (std::size_t at = 0; at < out.z.size(); ++at) out.scale[at % hidden] += out.z[at] * out.z[at];
  for (std::size_t i = 0; i < hidden; ++i) {
    out.contrast[i] = other[i] - out.mean[i];
    out.scale[i] = std::sqrt(out.scale[i] / static_cast<double>(out.rows));
    if (!std::isfinite(out.scale[i])) return invalid("a state is not finite");
  }
  // A dimension that hardly moves must not become a lever: none below 1/1000 of the median.
  std::vector<double> sorted = out.scale;
  std::ranges::sort(sorted);
  const double floor = 1e-3 * sorted[hidden / 2];
  if (!(floor > 0)) return invalid("half of the dimensions never vary");
  for (double& s : out.scale) s = std::max(s, floor);
  for (std::size_t at = 0; at < out.z.size(); ++at) out.z[at] /= out.scale[at % hidden];
  return out;
}

// Orthonormal rows from `first` on, each against all before it, twice. False if one vanishes.
bool orthonormalise(std::vector<double>& basis, std::size_t dims, std::size_t hidden) {
  for (std::size_t r = 0; r < dims; ++r) {
    double* row = basis.data() + r * hidden;
    const double before = std::sqrt(dot(row, row, hidden));
    for (int pass = 0; pass < 2; ++pass) {
      for (std::size_t u = 0; u < r; ++u) {
        const double c = dot(row, basis.data() + u * hidden, hidden);
        for (std::size_t i = 0; i < hidden; ++i) row[i] -= c * basis[u * hidden + i];
      }
    }
    const double length = std::sqrt(dot(row, row, hidden));
    if (!(length > 1e-10 * before) || !(before > 0)) return false;
    for (std::size_t i = 0; i < hidden; ++i) row[i] /= length;
  }
  return true;
}

// Fixed start of the subspace: bits of a mixed counter, about as many +1 as -1 (SplitMix64).
double start_entry(std::uint64_t index) {
  std::uint64_t x = (index + 1) * 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return std::popcount(x ^ (x >> 31)) - 32;
}

// Rows 1.. become z^T (z row) / n: one step of power iteration for each.
void apply_covariance(const Standardised& in, std::vector<double>& basis, std::size_t dims) {
  std::vector<double> next(basis.size(), 0.0);
  for (std::size_t n = 0; n < in.rows; ++n) {
    const double* z = in.z.data() + n * in.hidden;
    for (std::size_t r = 1; r < dims; ++r) {
      const double along = dot(z, basis.data() + r * in.hidden, in.hidden);
      double* to = next.data() + r * in.hidden;
      for (std::size_t i = 0; i < in.hidden; ++i) to[i] += along * z[i];
    }
  }
  const double n = static_cast<double>(in.rows);
  for (std::size_t at = in.hidden; at < basis.size(); ++at) basis[at] = next[at] / n;
}

Result<std::vector<double>> find_basis(const Standardised& in, std::size_t dims, int iterations) {
  std::vector<double> basis(dims * in.hidden);
  double size = 0;
  for (std::size_t i = 0; i < in.hidden; ++i) {
    basis[i] = in.contrast[i] / in.scale[i];
    size += basis[i] * basis[i];
  }
  // Chance alone gives a squared contrast of about hidden * 4 / rows in these units.
  if (!(size > 1e-12)) return invalid("the two groups of states have the same mean");
  for (std::size_t at = in.hidden; at < basis.size(); ++at) basis[at] = start_entry(at);
  if (!orthonormalise(basis, dims, in.hidden)) return invalid("the start vectors are dependent");
  for (int i = 0; i < iterations; ++i) {
    apply_covariance(in, basis, dims);
    if (!orthonormalise(basis, dims, in.hidden)) {
      return invalid("the states vary in fewer directions than dims");
    }
  }
  return basis;
}

// Covariance of B z, and its Ledoit-Wolf shrinkage.
struct Covariance {
  std::vector<double> matrix;  // [dims][dims]
  double shrinkage = 0;
};
Covariance covariance_of(const Standardised& in, const std::vector<double>& basis,
                         std::size_t dims) {
  Covariance out;
  out.matrix.assign(dims * dims, 0.0);
  const auto n = static_cast<double>(in.rows);
  std::vector<double> y(dims);
  double fourth = 0;  // sum of |y|^4
  for (std::size_t k = 0; k < in.rows; ++k) {
    for (std::size_t r = 0; r < dims; ++r) {
      y[r] = dot(in.z.data() + k * in.hidden, basis.data() + r * in.hidden, in.hidden);
    }
    const double squared = dot(y.data(), y.data(), dims);
    fourth += squared * squared;
    for (std::size_t r = 0; r < dims; ++r) {
      for (std::size_t c = 0; c < dims; ++c) out.matrix[r * dims + c] += y[r] * y[c] / n;
    }
  }
  const double frobenius = dot(out.matrix.data(), out.matrix.data(), dims * dims);
  double trace = 0;
  for (std::size_t r = 0; r < dims; ++r) trace += out.matrix[r * dims + r];
  const double spread = frobenius - trace * trace / static_cast<double>(dims);  // |S - mI|^2
  const double noise = (fourth / n - frobenius) / n;  // mean square error of S
  out.shrinkage = spread > 0 ? std::clamp(noise / spread, 0.0, 1.0) : 1.0;
  return out;
}

Status check_options(std::int32_t hidden, std::span<const float> background,
                     std::span<const float> anchored, const CoherenceFitOptions& o) {
  if (hidden < kCoherenceMinDims || hidden > kCoherenceMaxHidden) return invalid("hidden size");
  if (o.dims < kCoherenceMinDims || o.dims > std::min(kCoherenceMaxDims, hidden)) {
    return invalid("dims must be 16..64 and at most the hidden size");
  }
  if (!(o.shrinkage <= 1) || o.iterations < 1 || o.iterations > 1000) {
    return invalid("shrinkage is at most 1, iterations 1..1000");
  }
  const auto n = static_cast<std::size_t>(hidden);
  FP_CHECK(background.size() % n == 0 && anchored.size() % n == 0);
  const std::size_t least = 2 * static_cast<std::size_t>(o.dims);
  if (background.size() / n < least || anchored.size() / n < least) {
    return invalid("at least " + std::to_string(least) + " states are needed in each group");
  }
  return {};
}

}  // namespace

Result<CoherenceRecipe> fit_coherence(std::int32_t hidden_size, std::span<const float> background,
                                      std::span<const float> anchored,
                                      const CoherenceFitOptions& options) {
  FP_TRY(check_options(hidden_size, background, anchored, options));
  const auto hidden = static_cast<std::size_t>(hidden_size);
  const auto dims = static_cast<std::size_t>(options.dims);
  FP_ASSIGN(const Standardised in, standardise(hidden, background, anchored));
  FP_ASSIGN(const std::vector<double> basis, find_basis(in, dims, options.iterations));
  Covariance covariance = covariance_of(in, basis, dims);
  const double a = options.shrinkage >= 0 ? options.shrinkage : covariance.shrinkage;
  double trace = 0;
  for (std::size_t r = 0; r < dims; ++r) trace += covariance.matrix[r * dims + r];
  for (double& entry : covariance.matrix) entry *= 1 - a;
  for (std::size_t r = 0; r < dims; ++r) {
    covariance.matrix[r * dims + r] += a * trace / static_cast<double>(dims);
  }
  const auto root = inverse_square_root(covariance.matrix, dims);
  if (!root) return invalid(root.error().message);

  CoherenceRecipe recipe;
  recipe.layer = options.layer;
  recipe.hidden = hidden_size;
  recipe.dims = options.dims;
  recipe.half_life = options.half_life;
  recipe.skip_tokens = options.skip_tokens;
  recipe.min_tokens = options.min_tokens;
  recipe.shrinkage_ppm = static_cast<std::int32_t>(std::floor(a * 1e6 + 0.5));
  recipe.samples = static_cast<std::int64_t>(in.rows);
  recipe.mean.assign(in.mean.begin(), in.mean.end());
  std::vector<double> reference(dims, 0.0);
  for (std::size_t r = 0; r < dims; ++r) {
    for (std::size_t i = 0; i < hidden; ++i) {
      double entry = 0;
      for (std::size_t c = 0; c < dims; ++c) entry += (*root)[r * dims + c] * basis[c * hidden + i];
      entry /= in.scale[i];
      recipe.matrix.push_back(static_cast<float>(entry));
      reference[r] += entry * in.contrast[i];
    }
  }
  const double length = std::sqrt(dot(reference.data(), reference.data(), dims));
  for (const double x : reference) recipe.reference.push_back(static_cast<float>(x / length));
  if (const Status valid = check_coherence_recipe(recipe); !valid) {
    return invalid(valid.error().message);
  }
  return recipe;
}

}  // namespace fieldprint
