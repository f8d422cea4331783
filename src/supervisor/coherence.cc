#include "supervisor/coherence.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "core/check.h"
#include "supervisor/products.h"

namespace fieldprint {
namespace {

static_assert(std::is_trivially_copyable_v<CoherenceState>);

// Largest absolute value first, so that squares neither overflow nor vanish.
double length_of(std::span<const double> v) {
  double largest = 0;
  for (const double x : v) {
    if (!std::isfinite(x)) return std::numeric_limits<double>::quiet_NaN();
    largest = std::max(largest, std::fabs(x));
  }
  if (largest == 0) return 0;
  double squares = 0;
  for (const double x : v) squares += (x / largest) * (x / largest);
  return largest * std::sqrt(squares);
}

}  // namespace

double geodesic_angle(std::span<const double> a, std::span<const double> b) {
  FP_CHECK(a.size() == b.size());
  const double length_a = length_of(a);
  const double length_b = length_of(b);
  if (!(length_a > 0) || !(length_b > 0)) return std::numeric_limits<double>::quiet_NaN();
  double minus = 0;
  double plus = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double p = a[i] / length_a;
    const double q = b[i] / length_b;
    minus += (p - q) * (p - q);
    plus += (p + q) * (p + q);
  }
  return 2 * std::atan2(std::sqrt(minus), std::sqrt(plus));
}

Result<Coherence> Coherence::create(CoherenceRecipe recipe) {
  FP_TRY(check_coherence_recipe(recipe));
  Coherence made;
  made.recipe_ = std::move(recipe);
  made.digest_ = sha256(print_coherence_recipe(made.recipe_));
  made.reference_.assign(made.recipe_.reference.begin(), made.recipe_.reference.end());
  const double length = length_of(made.reference_);
  for (double& x : made.reference_) x /= length;
  const auto hidden = static_cast<std::size_t>(made.recipe_.hidden);
  const auto dims = static_cast<std::size_t>(made.recipe_.dims);
  made.columns_.resize(hidden * dims);
  for (std::size_t i = 0; i < hidden * dims; ++i) {
    made.columns_[i % hidden * dims + i / hidden] = made.recipe_.matrix[i];
  }
  made.decay_ = std::exp2(-1.0 / made.recipe_.half_life);
  return made;
}

void Coherence::project(std::span<const float> state, std::span<double> x) const {
  const auto hidden = static_cast<std::size_t>(recipe_.hidden);
  const auto dims = static_cast<std::size_t>(recipe_.dims);
  FP_CHECK(state.size() == hidden && x.size() == dims);
  std::vector<double> centred(hidden);
  for (std::size_t i = 0; i < hidden; ++i) centred[i] = double{state[i]} - double{recipe_.mean[i]};
  products().ordered(columns_.data(), centred.data(), hidden, x.data(), dims);
}

void Coherence::step(CoherenceState& pooled, std::span<const float> state) const {
  ++pooled.tokens;
  if (pooled.tokens <= static_cast<std::uint32_t>(recipe_.skip_tokens)) return;
  const auto dims = static_cast<std::size_t>(recipe_.dims);
  std::array<double, kCoherenceMaxDims> x;
  project(state, std::span(x).first(dims));
  for (std::size_t r = 0; r < dims; ++r) {
    pooled.broken = pooled.broken || !std::isfinite(x[r]);
    pooled.sum[r] = decay_ * pooled.sum[r] + x[r];
  }
}

CoherenceReading Coherence::read(const CoherenceState& pooled) const {
  CoherenceReading reading;
  const std::int64_t used = std::int64_t{pooled.tokens} - recipe_.skip_tokens;
  reading.ready = used >= recipe_.min_tokens;
  if (!reading.ready) return reading;
  reading.angle = pooled.broken
                      ? std::numeric_limits<double>::quiet_NaN()
                      : geodesic_angle(std::span(pooled.sum).first(reference_.size()), reference_);
  return reading;
}

std::vector<float> Coherence::direction(const CoherenceState& pooled) const {
  const auto sum = std::span(pooled.sum).first(reference_.size());
  const double length = length_of(sum);
  std::vector<float> unit;
  if (pooled.broken || !std::isfinite(length) || length == 0) return unit;
  for (const double x : sum) unit.push_back(static_cast<float>(x / length));
  return unit;
}

}  // namespace fieldprint
