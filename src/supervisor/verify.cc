#include "supervisor/verify.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>

#include "core/check.h"

namespace fieldprint {
namespace {

constexpr std::size_t kMinRuns = 4;
constexpr std::size_t kMinRunTokens = 16;
constexpr double kOutlierQuantile = 0.99;
constexpr double kCapOverOutlier = 4.0;
constexpr double kMaxMargin = 4.0;
constexpr std::uint64_t kSaturatedShare = 64;  // at most one coordinate in so many

double capped_mean(std::span<const double> distances, double cap) {
  double sum = 0;
  for (const double d : distances) sum += std::min(d, cap);
  return sum / static_cast<double>(distances.size());
}

double share_above(std::span<const double> distances, double limit) {
  const auto above = std::ranges::count_if(distances, [&](double d) { return d > limit; });
  return static_cast<double>(above) / static_cast<double>(distances.size());
}

tl::unexpected<Error> bad_calibration(const std::string& what) {
  return fail(ErrorKind::kInvalid, "fingerprint_calibration_invalid",
              "fingerprint calibration: " + what);
}

// Records of each segment that no later generation took back.
std::vector<std::size_t> surviving_records(std::span<const Segment> segments) {
  std::vector<std::size_t> kept(segments.size());
  std::uint64_t limit = UINT64_MAX;
  for (std::size_t i = segments.size(); i-- > 0;) {
    const Segment& s = segments[i];
    const std::uint64_t room = limit > s.first_token ? limit - s.first_token : 0;
    kept[i] = static_cast<std::size_t>(std::min<std::uint64_t>(room, s.records.size()));
    const std::uint32_t before = i > 0 ? segments[i - 1].generation : 0;
    if (s.generation > before) limit = std::min(limit, s.first_token - s.gap_before);
  }
  return kept;
}

Status check_inputs(const Fingerprinter& fingerprinter, const ChainBinding& binding,
                    std::span<const Segment> segments, const Reexecution& own) {
  FP_CHECK(own.states.size() ==
           own.tokens.size() * static_cast<std::size_t>(fingerprinter.recipe().hidden));
  if (binding.recipe_digest != fingerprinter.recipe_digest()) {
    return fail(ErrorKind::kInvalid, "fingerprint_recipe_mismatch",
                "the chain was made with recipe " + digest_string(binding.recipe_digest) +
                    ", not " + digest_string(fingerprinter.recipe_digest()));
  }
  FP_TRY(check_chain(binding, segments));
  const auto kept = surviving_records(segments);
  for (std::size_t i = 0; i < segments.size(); ++i) {
    if (kept[i] == 0 || segments[i].first_token + kept[i] <= own.tokens.size()) continue;
    return fail(ErrorKind::kInvalid, "fingerprint_reexecution_short",
                "segment " + std::to_string(i) + " ends at token " +
                    std::to_string(segments[i].first_token + kept[i]) + " of a response of " +
                    std::to_string(own.tokens.size()));
  }
  return {};
}

// Called for each record to compare; returns false to stop.
using RecordCheck = std::function<bool(std::uint64_t place, const TokenFingerprint& claimed,
                                       const Projection& mine)>;

// Walks the records that survive; fills in counts and what does not depend on the kind of check.
Status walk(const Fingerprinter& fingerprinter, const ChainBinding& binding,
            std::span<const Segment> segments, const Reexecution& own, FingerprintReport& report,
            const RecordCheck& check) {
  const auto hidden = static_cast<std::size_t>(fingerprinter.recipe().hidden);
  const auto kept = surviving_records(segments);
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const Segment& s = segments[i];
    report.gaps += s.gap_before;
    report.dropped += s.records.size() - kept[i];
    if (kept[i] == 0) continue;
    if (kept[i] < s.records.size()) {
      report.uncommitted += kept[i];
    } else if (commit_tokens(binding.salt, s.index,
                             own.tokens.subspan(s.first_token, s.records.size())) != s.tokens) {
      report.verdict = FingerprintVerdict::kTokensDiffer;
      report.first_token = static_cast<std::int64_t>(s.first_token);
      return {};
    }
    for (std::size_t r = 0; r < kept[i]; ++r) {
      const std::uint64_t place = s.first_token + r;
      FP_ASSIGN(const Projection mine,
                fingerprinter.project(own.states.subspan(place * hidden, hidden)));
      ++report.tokens;
      if (!check(place, s.records[r], mine)) return {};
    }
  }
  return {};
}

// How evidence can look fine and say nothing.
FingerprintVerdict degenerate(std::span<const TokenFingerprint> records, std::size_t min_tokens) {
  if (records.size() < min_tokens) return FingerprintVerdict::kNothingToJudge;
  std::uint64_t saturated = 0;
  for (const auto& record : records) saturated += static_cast<unsigned>(saturated_codes(record));
  if (saturated * kSaturatedShare > records.size() * kFingerprintDims) {
    return FingerprintVerdict::kSaturated;
  }
  const bool varies = std::ranges::any_of(records, [&](const auto& r) { return r != records[0]; });
  return varies ? FingerprintVerdict::kAccepted : FingerprintVerdict::kIndistinct;
}

Status check_tolerance(const FingerprintTolerance& t) {
  const auto positive = [](double x) { return std::isfinite(x) && x > 0; };
  if (t.runs < kMinRuns || t.min_tokens < kMinRunTokens) {
    return bad_calibration("made of too few or too short runs");
  }
  if (!positive(t.outlier) || !positive(t.cap) || !positive(t.mean_limit) || t.cap < t.outlier ||
      t.mean_limit >= t.cap) {
    return bad_calibration("its distances are not positive, or the mean's limit is never reached");
  }
  if (!(t.outlier_share_limit >= 0 && t.outlier_share_limit < 0.5)) {
    return bad_calibration("half of the tokens may be outliers");
  }
  return {};
}

}  // namespace

const char* fingerprint_verdict_name(FingerprintVerdict verdict) {
  switch (verdict) {
    case FingerprintVerdict::kAccepted:
      return "accepted";
    case FingerprintVerdict::kTokensDiffer:
      return "tokens_differ";
    case FingerprintVerdict::kBytesDiffer:
      return "bytes_differ";
    case FingerprintVerdict::kTooFar:
      return "too_far";
    case FingerprintVerdict::kNothingToJudge:
      return "nothing_to_judge";
    case FingerprintVerdict::kSaturated:
      return "saturated";
    case FingerprintVerdict::kIndistinct:
      return "indistinct";
  }
  FP_UNREACHABLE();
}

Result<FingerprintTolerance> calibrate_fingerprints(std::span<const std::vector<double>> distances,
                                                    double margin) {
  if (distances.size() < kMinRuns) return bad_calibration("fewer than 4 honest runs");
  if (!(margin >= 1.0 && margin <= kMaxMargin)) return bad_calibration("margin outside 1..4");
  std::vector<double> all;
  FingerprintTolerance t;
  t.runs = static_cast<std::uint32_t>(distances.size());
  t.min_tokens = UINT32_MAX;
  for (const std::vector<double>& run : distances) {
    if (run.size() < kMinRunTokens) return bad_calibration("a run of fewer than 16 tokens");
    t.min_tokens = std::min(t.min_tokens, static_cast<std::uint32_t>(run.size()));
    for (const double d : run) {
      if (!(d >= 0 && std::isfinite(d))) return bad_calibration("a distance that is none");
      all.push_back(d);
    }
  }
  const auto at = static_cast<std::ptrdiff_t>(kOutlierQuantile * static_cast<double>(all.size()));
  std::nth_element(all.begin(), all.begin() + at, all.end());
  t.outlier = all[static_cast<std::size_t>(at)];
  if (!(t.outlier > 0)) return bad_calibration("honest runs that never differ");
  t.cap = kCapOverOutlier * t.outlier;
  for (const std::vector<double>& run : distances) {
    t.mean_limit = std::max(t.mean_limit, margin * capped_mean(run, t.cap));
    t.outlier_share_limit = std::max(t.outlier_share_limit, margin * share_above(run, t.outlier));
  }
  FP_TRY(check_tolerance(t));
  return t;
}

Result<FingerprintReport> verify_fingerprints_exact(const Fingerprinter& fingerprinter,
                                                    const ChainBinding& binding,
                                                    std::span<const Segment> segments,
                                                    const Reexecution& own) {
  if (!binding.numeric_profile.starts_with("invariant/") ||
      own.numeric_profile != binding.numeric_profile) {
    return fail(ErrorKind::kInvalid, "fingerprint_profile_mismatch",
                "equal bytes are promised inside one invariant numeric profile; the chain's is " +
                    binding.numeric_profile + ", the verifier's " +
                    std::string(own.numeric_profile) + ": use the tolerant check");
  }
  FP_TRY(check_inputs(fingerprinter, binding, segments, own));
  FingerprintReport report;
  report.verdict = FingerprintVerdict::kAccepted;
  const auto check = [&](std::uint64_t place, const TokenFingerprint& claimed,
                         const Projection& mine) {
    if (fingerprinter.quantise(mine) == claimed) return true;
    report.verdict = FingerprintVerdict::kBytesDiffer;
    report.first_token = static_cast<std::int64_t>(place);
    return false;
  };
  FP_TRY(walk(fingerprinter, binding, segments, own, report, check));
  if (report.tokens == 0 && report.verdict == FingerprintVerdict::kAccepted) {
    report.verdict = FingerprintVerdict::kNothingToJudge;
  }
  return report;
}

Result<FingerprintReport> verify_fingerprints_tolerant(const Fingerprinter& fingerprinter,
                                                       const ChainBinding& binding,
                                                       std::span<const Segment> segments,
                                                       const Reexecution& own,
                                                       const FingerprintTolerance& tolerance) {
  FP_TRY(check_tolerance(tolerance));
  FP_TRY(check_inputs(fingerprinter, binding, segments, own));
  FingerprintReport report;
  report.verdict = FingerprintVerdict::kAccepted;
  std::vector<double> distances;
  std::vector<TokenFingerprint> records;
  std::uint64_t recovered = 0;
  std::int64_t first_outlier = -1;
  const auto check = [&](std::uint64_t place, const TokenFingerprint& claimed,
                         const Projection& mine) {
    distances.push_back(fingerprinter.distance(mine, claimed));
    records.push_back(claimed);
    if (fingerprinter.recovers(mine, claimed)) ++recovered;
    if (distances.back() > tolerance.outlier && first_outlier < 0) {
      first_outlier = static_cast<std::int64_t>(place);
    }
    return true;
  };
  FP_TRY(walk(fingerprinter, binding, segments, own, report, check));
  if (report.verdict != FingerprintVerdict::kAccepted) return report;
  report.verdict = degenerate(records, tolerance.min_tokens);
  if (distances.empty()) return report;
  report.capped_mean = capped_mean(distances, tolerance.cap);
  report.outlier_share = share_above(distances, tolerance.outlier);
  report.worst = *std::ranges::max_element(distances);
  report.recovered_share = static_cast<double>(recovered) / static_cast<double>(records.size());
  const bool far = report.capped_mean > tolerance.mean_limit ||
                   report.outlier_share > tolerance.outlier_share_limit;
  if (report.verdict == FingerprintVerdict::kAccepted && far) {
    report.verdict = FingerprintVerdict::kTooFar;
    report.first_token = first_outlier;
  }
  return report;
}

}  // namespace fieldprint
