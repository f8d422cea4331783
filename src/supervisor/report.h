// What supervision says about a response: readings by segment, breaches, rollbacks, the chain.
// Plain values that travel from workers to engine, receipts, API and sessions.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "attention/plan.h"
#include "supervisor/chain.h"
#include "supervisor/detector.h"

namespace fieldprint {

// A sequence is rolled back to a multiple of this many of its own tokens.
inline constexpr std::uint64_t kCheckpointTokens = 16;

// What happens to a response's tokens before their segment has been judged.
enum class ReleaseMode : std::uint8_t {
  kOff,         // never judged: fingerprints are recorded, angles too, nothing follows from them
  kOptimistic,  // sent at once; a breach takes text back (RollbackEvent)
  kStrict,      // held until the segment has passed
};
const char* release_mode_name(ReleaseMode mode);  // "off", "optimistic", "strict"

enum class BreachCause : std::uint8_t {
  kNone,
  kDetector,      // the e-detector reached 1/alpha
  kLimit,         // one segment's angle reached the limit
  kNoDirection,   // the pooled state has no direction, or no angle that is a number
  kStateInvalid,  // a state that has no fingerprint: NaN, or out of range
};
const char* breach_cause_name(BreachCause cause);  // "detector", "limit", ...

// One segment of a response as a worker judged it.
struct SegmentReading {
  std::uint32_t generation = 0;   // rollbacks of the response before it
  std::uint64_t first_token = 0;  // place in the response
  std::uint64_t end_token = 0;    // tokens first..end-1, gaps included
  bool measured = false;          // an angle was there: anchored, and enough tokens pooled
  double angle = 0;               // radians
  double score = 0;               // 0..1
  double evidence = 0;            // of the e-detector; alarm at 1/alpha
  BreachCause cause = BreachCause::kNone;
  // With a cause: the first token of the run that the evidence comes from; go back to there.
  std::uint64_t change_token = 0;
  // Measured: unit vector of the pooled state at the segment's end, [dims], as
  // Coherence::direction() gives it; for the pacemaker. Empty: none.
  std::vector<float> direction = {};
};

// What the engine changes before it generates again, in the order of the ladder.
enum class RollbackChange : std::uint8_t {
  kStrongerAnchor,  // floored with a higher psi, or gated with a higher gamma
  kReseed,          // another seed and a lower temperature
  kRemind,          // the identity's text said again before the last turn
  kQuarantine,      // untrusted text of the class with most attention mass taken out
  kStop,            // no further attempt: finish_reason content_filter
  kManual,          // a person asked for it through the API
};
const char* rollback_change_name(RollbackChange change);  // "stronger_anchor", ...

struct RollbackRecord {
  std::uint64_t from_token = 0;       // tokens generated when it happened
  std::uint64_t to_token = 0;         // tokens kept
  std::uint64_t released_tokens = 0;  // of the dropped ones, sent to the client already
  RollbackChange change = RollbackChange::kReseed;
  BreachCause cause = BreachCause::kNone;
  double angle = 0;                          // of the breaching segment, radians
  KvClass quarantined = KvClass::kReserved;  // kQuarantine: the class taken out
  std::array<float, kKvClasses> mass{};      // mean attention mass of the dropped tokens
};

enum class SupervisionState : std::uint8_t {
  kComplete,    // every token was seen by a worker, or its absence is counted in `gaps`
  kIncomplete,  // the worker did not answer in time: the end of the chain is missing
};
const char* supervision_state_name(SupervisionState state);  // "complete", "incomplete"

// Of one choice of a response, at its end.
struct SupervisionReport {
  ReleaseMode release = ReleaseMode::kOff;
  SupervisionState state = SupervisionState::kIncomplete;
  ChainBinding binding;           // what the chain belongs to, salt included
  Digest256 chain_head{};         // all zeros with kIncomplete
  std::vector<Segment> segments;  // the whole chain
  std::vector<SegmentReading> timeline;
  std::uint64_t gaps = 0;      // tokens without a record
  std::uint64_t unlogged = 0;  // segments that the ledger could not take
  bool coherence = false;      // angles were measured
  DetectorState detector;      // for the next response of the same session
  std::vector<RollbackRecord> rollbacks;
};

// Whether the tokens of a reading are still part of the text after the report's rollbacks.
bool reading_stayed(const SegmentReading& reading, std::span<const RollbackRecord> rollbacks);
// Angles that the text that stayed was measured by, in order.
std::vector<double> kept_angles(const SupervisionReport& report);

}  // namespace fieldprint
