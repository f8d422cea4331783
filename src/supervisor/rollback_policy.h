// What to do about a breach: how far to go back and what to change, by a ladder.
//
// Order: stronger anchor, reseed and cooler, remind, quarantine, stop. A step that does not apply
// is passed over; one that was tried is not tried again; after max_attempts the answer is kStop.
// Source: reference on rollback and regeneration in docs/supervisor.md.
//
// Thread rule: pure functions.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "attention/plan.h"
#include "core/error.h"
#include "supervisor/report.h"

namespace fieldprint {

struct RollbackSettings {
  std::int32_t max_attempts = 3;  // regenerations of one response before kStop, 0..8
  float psi = 0.3F;               // floor under the anchor's weight at kStrongerAnchor, [0,1)
  float gamma_step = 0.15F;       // added to every gamma of a gated anchor
  float cooler = 0.5F;            // factor on the temperature at kReseed
};
// Errors: invalid_options.
Status validate(const RollbackSettings& settings);

struct RollbackSituation {
  std::span<const RollbackRecord> before;  // of this response
  SegmentReading breach;
  std::uint64_t generated = 0;  // tokens of the response now
  std::uint64_t released = 0;   // of them, sent to the client
  // Strict: tokens that were released can not be taken back; never go below.
  bool released_is_final = false;
  bool anchored = false;      // kStrongerAnchor applies
  bool has_reminder = false;  // kRemind applies
  // Mean attention mass by class over the dropped tokens, and which classes could be taken out.
  std::array<float, kKvClasses> mass{};
  std::span<const KvClass> untrusted;  // of the prompt: tool, memory; empty: no kQuarantine
};

struct RollbackDecision {
  RollbackChange change = RollbackChange::kStop;
  std::uint64_t to_token = 0;  // multiple of kCheckpointTokens, or `released` with kStop in strict
  KvClass quarantine = KvClass::kReserved;  // kQuarantine: the class with most mass
};

// kRemind and kQuarantine change the prompt, so they go back to 0 tokens (or do not apply if
// released text is final and there is some).
RollbackDecision decide_rollback(const RollbackSettings& settings,
                                 const RollbackSituation& situation);

}  // namespace fieldprint
