// What a supervised choice must be, given its rollbacks: computed token by token from nothing but
// the tokens that were kept, so nothing of the dropped ones can be in it.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/harness.h"

namespace fieldprint::testing {

struct SupervisedAnswer {
  std::vector<TokenId> tokens;
  std::string text;
  FinishReason reason = FinishReason::kStop;
};

// The engine's rollback settings must be the defaults.
SupervisedAnswer expected_supervised(const GenerationRequest& request, std::uint64_t seed,
                                     const std::vector<TokenId>& anchor,
                                     std::span<const RollbackRecord> rollbacks);
// The history that position `position` of the answer was sampled from.
std::vector<FakeToken> history_of(const std::vector<TokenSpan>& prompt,
                                  const std::vector<TokenId>& anchor,
                                  std::span<const TokenId> output);

}  // namespace fieldprint::testing
