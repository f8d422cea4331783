// How fast logged angles return to the anchor: de = -k e dt + s e dW (Ito), e > 0.
//
//   e_t = e_0 exp(-(k + s^2/2) t + s W_t),  E e_t^2 = e_0^2 exp((s^2 - 2k) t)
// so the mean square goes to zero iff k > s^2/2. Almost every path goes to zero already for
// k > -s^2/2: noise alone "stabilises" paths while the mean square explodes. Only the mean-square
// condition is worth claiming.
// Estimator from n increments at spacing h, T = n h (increments are independent normals):
//   x_i = ln(e_(i+1) / e_i) ~ N(-(k + s^2/2) h, s^2 h)
//   s^2 = var(x) / h,  k = -mean(x) / h - s^2 / 2
//   Var(s^2) = 2 s^4 / (n-1),  Var(k) ~ s^2 / T + s^4 / (2 (n-1))
//   m = k - s^2/2 = -mean(x) / h - s^2,  Var(m) ~ s^2 / T + 2 s^4 / (n-1)
// Mean and variance of a normal sample are independent, so the terms add. Sampling faster does
// not help k: its first term depends on T alone.
//
// An angle is bounded by pi and has a floor of noise, so this is a local model: the residuals are
// checked, and a fit whose check fails must not be quoted.
//
// Thread rule: pure functions.
#pragma once

#include <cstddef>
#include <span>

#include "core/error.h"

namespace fieldprint {

inline constexpr std::size_t kDriftMinIncrements = 16;

// z-scores of what the model says should be zero; each is asymptotically standard normal.
struct DriftResiduals {
  double lag1 = 0;      // sqrt(n) times the autocorrelation of x at lag 1
  double skewness = 0;  // sample skewness / sqrt(6/n)
  double kurtosis = 0;  // sample excess kurtosis / sqrt(24/n)
  double level = 0;     // sqrt(n) times the correlation of x_i with ln e_i: a floor makes it
                        // negative. Under the model ln e is a random walk, so |z| is larger than
                        // a normal's; the check allows for it
  bool acceptable = false;  // |lag1|, |skewness|, |kurtosis| <= 3.29 (each 0.1 %), |level| <= 4.5
};

struct DriftFit {
  std::size_t increments = 0;  // n
  double duration = 0;         // T
  double k = 0;                // per unit of h
  double k_error = 0;          // standard error
  double s2 = 0;               // s^2, per unit of h
  double s2_error = 0;
  double margin = 0;  // m = k - s^2/2: positive is mean-square stable
  double margin_error = 0;
  double margin_bound = 0;  // one-sided 95 % lower bound of m
  DriftResiduals residuals;

  // What may be claimed: the bound is positive and the model fits.
  bool mean_square_stable() const { return residuals.acceptable && margin_bound > 0; }
};

// angles: in (0, pi], in order, `spacing` > 0 apart (in segments, say). Errors: drift_too_few
// (fewer than kDriftMinIncrements + 1), drift_angle_invalid, drift_no_noise (all increments are
// equal: the variance says nothing).
Result<DriftFit> fit_drift(std::span<const double> angles, double spacing);

// Several sessions with one k and s: increments are pooled, none taken across sessions. Residuals
// are judged on all of them. Errors: as above, for sessions together.
Result<DriftFit> fit_drift_pooled(std::span<const std::span<const double>> sessions,
                                  double spacing);

}  // namespace fieldprint
