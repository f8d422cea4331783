#include "engine/scheduler.h"

#include <algorithm>

#include "attention/plan.h"
#include "core/check.h"

namespace fieldprint {

StepShares share_step(std::span<const StepDemand> demands, const StepLimits& limits,
                      std::uint64_t cursor) {
  StepShares shares{std::vector<std::int32_t>(demands.size(), 0), cursor};
  std::vector<std::size_t> prefilling;  // in round-robin order, the next to serve first
  std::int32_t decoding = 0;
  for (std::size_t i = 0; i < demands.size(); ++i) {
    FP_CHECK(demands[i].remaining >= 1);
    FP_CHECK(i == 0 || demands[i - 1].age < demands[i].age);
    if (demands[i].remaining == 1) {
      shares.tokens[i] = 1;
      ++decoding;
    } else {
      prefilling.push_back(i);
    }
  }
  FP_CHECK(decoding <= limits.max_step_tokens);
  if (prefilling.empty()) return shares;
  const auto next =
      std::ranges::find_if(prefilling, [&](std::size_t i) { return demands[i].age > cursor; });
  std::rotate(prefilling.begin(), next, prefilling.end());
  std::int32_t budget = std::min(decoding > 0 ? limits.mixed_prefill_chunk : limits.prefill_chunk,
                                 limits.max_step_tokens - decoding);
  for (bool progress = true; progress && budget > 0;) {
    progress = false;
    for (const std::size_t i : prefilling) {
      const std::int32_t left = demands[i].remaining - shares.tokens[i];
      const std::int32_t quantum = std::min({kPageRows, left, budget});
      if (quantum == 0) continue;
      shares.tokens[i] += quantum;
      shares.cursor = demands[i].age;
      budget -= quantum;
      progress = true;
    }
  }
  return shares;
}

}  // namespace fieldprint
