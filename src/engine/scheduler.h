// Who computes how many tokens in a step. Pure policy: no pages, no clock.
//
// - A sequence with one token left (all decoding ones) gets it in every step.
// - The prefill budget (`prefill_chunk`, or `mixed_prefill_chunk` while others decode)
//   goes round robin in quanta of one page, starting after the sequence served last.
//   So with P prefilling sequences each gets a quantum at least every
//   ceil(P * kPageRows / budget) steps, however long the others' prompts are.
//
// Thread rule: pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace fieldprint {

struct StepLimits {
  std::int32_t prefill_chunk = 512;       // prompt tokens a step when nothing decodes
  std::int32_t mixed_prefill_chunk = 64;  // the same while sequences decode
  std::int32_t max_step_tokens = 512;     // of the runner, all sequences together
};

struct StepDemand {
  std::uint64_t age = 0;       // unique; smaller is older
  std::int32_t remaining = 0;  // tokens known but not computed, >= 1
};

struct StepShares {
  std::vector<std::int32_t> tokens;  // per demand, 0..remaining
  std::uint64_t cursor = 0;          // give it to the next call
};

// demands: ascending age, at most max_step_tokens of them. cursor: 0 at first.
StepShares share_step(std::span<const StepDemand> demands, const StepLimits& limits,
                      std::uint64_t cursor);

}  // namespace fieldprint
