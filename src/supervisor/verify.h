// Whether a chain of fingerprints is what this model gives for these tokens.
//
// The verifier runs prompt and response through the model again and compares states:
//   exact     in the same numeric profile, if that is an invariant one: bytes must be equal;
//   tolerant  in any other: distances must be as small as those between honest runs.
// Bits differ between profiles whatever the rounding (P(no flip) ~ exp(-sum |e_i| / D)), so
// equality is never demanded there. Distances are heavy-tailed, so the verdict is of the whole
// response, by two statistics of its distances d_t:
//   capped mean    A = mean over t of min(d_t, cap)
//   outlier share  B = share of t with d_t > outlier
// Both limits are the largest value met among n honest calibration runs, times a margin >= 1. If
// the honest run under test is exchangeable with those, each statistic exceeds its limit with
// probability <= 1/(n+1), and the run is refused with probability <= 2/(n+1). (For cap and outlier
// fixed beforehand; they come from the same runs, so take the bound as approximate.)
//
// Thread rule: pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "supervisor/chain.h"
#include "supervisor/fingerprint.h"

namespace fieldprint {

// What the verifier computed itself: token and final state of each place in the response.
struct Reexecution {
  std::span<const std::int32_t> tokens;
  std::span<const float> states;     // [tokens, hidden]
  std::string_view numeric_profile;  // of the verifier's runner
};

enum class FingerprintVerdict : std::uint8_t {
  kAccepted,
  kTokensDiffer,    // commitments do not fit these tokens and this salt
  kBytesDiffer,     // exact only
  kTooFar,          // tolerant only: A or B over its limit
  kNothingToJudge,  // degenerate: too few records
  kSaturated,       // degenerate: codes at the end of their range hide distances
  kIndistinct,      // degenerate: the records do not vary from token to token
};
const char* fingerprint_verdict_name(FingerprintVerdict verdict);

struct FingerprintReport {
  FingerprintVerdict verdict = FingerprintVerdict::kNothingToJudge;
  std::uint64_t tokens = 0;       // compared
  std::uint64_t gaps = 0;         // generated without a record
  std::uint64_t dropped = 0;      // taken back by a rollback; their text is gone
  std::uint64_t uncommitted = 0;  // compared, but in a segment part of which was taken back
  std::int64_t first_token = -1;  // where it first went wrong; -1: nowhere in particular
  double capped_mean = 0;
  double outlier_share = 0;
  double worst = 0;            // largest d_t
  double recovered_share = 0;  // records whose codes the sketch gives back exactly
};

// Limits of the tolerant verdict, from calibrate_fingerprints().
struct FingerprintTolerance {
  double outlier = 0;              // steps
  double cap = 0;                  // steps
  double mean_limit = 0;           // steps
  double outlier_share_limit = 0;  // 0..1
  std::uint32_t runs = 0;          // n
  std::uint32_t min_tokens = 0;    // shortest calibration run: nothing shorter can be judged
};

// distances[i]: d_t of honest run i, each made in two configurations that must pass. outlier is
// the 99 % quantile of all d_t, cap four times that. Errors: fingerprint_calibration_invalid
// (fewer than 4 runs, one of fewer than 16 tokens, a distance not finite or negative, all zero,
// margin outside 1..4).
Result<FingerprintTolerance> calibrate_fingerprints(std::span<const std::vector<double>> distances,
                                                    double margin);

// What the verdict does not say: how much was covered. Gaps are in the report, dropped tokens must
// be what the ledger's rollback entries state, and a chain cut short passes check_chain: compare
// its last digest with the receipt's.
//
// Both check the chain first. Errors: fingerprint_chain_broken; fingerprint_recipe_mismatch (the
// chain was made with another recipe); fingerprint_reexecution_short (a segment's tokens are not
// all there); fingerprint_state_invalid.
//
// exact also: fingerprint_profile_mismatch (the chain's numeric profile is not an invariant one,
// or not the verifier's).
Result<FingerprintReport> verify_fingerprints_exact(const Fingerprinter& fingerprinter,
                                                    const ChainBinding& binding,
                                                    std::span<const Segment> segments,
                                                    const Reexecution& own);
// tolerant also: fingerprint_calibration_invalid (limits that no calibration gives).
Result<FingerprintReport> verify_fingerprints_tolerant(const Fingerprinter& fingerprinter,
                                                       const ChainBinding& binding,
                                                       std::span<const Segment> segments,
                                                       const Reexecution& own,
                                                       const FingerprintTolerance& tolerance);

}  // namespace fieldprint
