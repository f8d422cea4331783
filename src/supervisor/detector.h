// Alarms on a stream of bounded scores, with a stated rate of false ones.
//
// Scores X_t in [0,1], one per segment. Healthy means E[X_t | past] <= m0 for every t: nothing
// about independence, distribution or stationarity. For a bet b in [0, 1/m0)
//   L_t(b) = 1 + b (X_t - m0) > 0,   E[L_t | past] <= 1 while healthy.
// e-detector (Shin, Ramdas, Rinaldo, "E-detectors", 2023; sum form, mixture of bets w_k):
//   M_t = sum_k w_k M_t(b_k),  M_t(b) = (M_(t-1)(b) + 1) L_t(b),  alarm at M_t >= 1/alpha.
//   While healthy M_t - t is a supermartingale, so the mean time to an alarm is >= 1/alpha
//   segments, and P(alarm within T segments) <= alpha T.
// One-shot test of a session (Ville's inequality):
//   E_t = sum_k w_k prod_(s<=t) L_s(b_k),  alarm at E_t >= 1/alpha,
//   P(ever an alarm while healthy) <= alpha. It cannot start afresh: after a long healthy time E
//   is small and a late change is found late; that is the price of "ever".
// The bound is conditional on m0. If topics shift it above m0, alarms come more often: report the
// measured mean beside the bound.
//
// CUSUM (Page 1954), S_t = max(0, S_(t-1) + X_t - k), alarm at S_t >= h, and a plain threshold are
// here for comparison. Their run lengths are known only where the scores' law is.
//
// Thread rule: settings are immutable, states are small values: copy one with a KV checkpoint and
// put it back on rollback.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/error.h"

namespace fieldprint {

// Score of an angle: 0 up to `low`, 1 from `high` on, straight between. Radians, low < high.
struct AngleScore {
  double low = 0;
  double high = 0;
};
// An angle that is none (NaN: the state has no direction) scores 1.
double score_of(const AngleScore& map, double angle);

inline constexpr std::size_t kMaxBets = 8;

struct DetectorSettings {
  double mean_bound = 0;  // m0: 0 < m0 < 1
  double alpha = 0;       // 0 < alpha < 1; 1/alpha segments between false alarms at least
  std::array<double, kMaxBets> bets{};     // each in (0, 1/m0)
  std::array<double, kMaxBets> weights{};  // positive, sum 1
  std::size_t bet_count = 0;               // 1..kMaxBets
};

// Bets of 1/8, 1/4, 1/2 and 7/8 of 1/m0, equal weights: from faint long drifts to plain breaks.
// Errors: detector_settings_invalid.
Result<DetectorSettings> make_detector_settings(double mean_bound, double alpha);
// Errors: detector_settings_invalid.
Status check_detector_settings(const DetectorSettings& settings);

struct DetectorState {
  std::array<double, kMaxBets> sums{};               // M_t(b_k)
  std::array<double, kMaxBets> products{};           // prod L_s(b_k); not read while segments is 0
  std::array<double, kMaxBets> runs{};               // max(run,1) L: for the estimate of the change
  std::array<std::uint32_t, kMaxBets> run_starts{};  // first segment of that run
  std::uint32_t segments = 0;                        // scores seen
  bool session_alarm = false;                        // E_t has reached 1/alpha
};

struct DetectorReading {
  double evidence = 0;          // M_t; alarm at 1/alpha
  double session_evidence = 0;  // E_t; alarm at 1/alpha
  bool alarm = false;           // of the e-detector
  bool session_alarm = false;   // of the one-shot test, at this segment or before
  // First segment of the run that the evidence comes from: where a rollback should go back to,
  // rounded down to a checkpoint. The maximum likelihood start of a bet's run, as in CUSUM.
  std::uint32_t change = 0;
};

// Takes in one score. A score outside [0,1] or NaN counts as 1: fail closed. Sums saturate at
// 1e150, far above any 1/alpha, so the state stays finite. The caller resets the state (a new
// DetectorState) when it has acted on an alarm.
DetectorReading detector_step(const DetectorSettings& settings, DetectorState& state, double score);

struct CusumSettings {
  double reference = 0;  // k
  double limit = 0;      // h
};
struct CusumState {
  double sum = 0;
};
bool cusum_step(const CusumSettings& settings, CusumState& state, double score);

// Alarm at the first score of `limit` or more.
inline bool threshold_alarm(double limit, double score) { return !(score < limit); }

// Score map and m0 from healthy angles, sessions[i] = angles of session i in order. low is the
// quantile `low_quantile` of all angles, high = low + `spread` times the distance from the median
// to that quantile, at most pi. m0 = mean of the sessions' mean scores + 1.645 standard errors over
// sessions (one-sided 95 % by the normal approximation), at least 0.01.
struct DetectorCalibration {
  AngleScore map;
  double mean = 0;        // measured
  double mean_bound = 0;  // m0
  std::size_t sessions = 0;
  std::size_t segments = 0;
};
// Errors: detector_calibration_invalid (fewer than 8 sessions or an empty one, an angle outside
// 0..pi, angles that do not vary, a bound of 1/2 or more: such scores could not show anything).
Result<DetectorCalibration> calibrate_detector(std::span<const std::vector<double>> sessions,
                                               double low_quantile = 0.9, double spread = 3.0);

}  // namespace fieldprint
