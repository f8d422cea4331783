// Lets an engine answer many prompts at once and collects the tokens.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace fieldprint::app {

struct AnswerOptions {
  std::int32_t max_tokens = 64;
  float temperature = 0.7F;
  float top_p = 0.95F;
  std::uint64_t seed = 1;  // answer i uses seed + i
  bool anchored = true;
  std::optional<SupervisionRequest> supervision = {};
};
struct Answer {
  std::vector<TokenId> tokens;  // without what ends a generation
  std::string text;             // what a client that honours rollbacks shows at the end
  std::uint64_t seed = 0;
  FinishReason reason = FinishReason::kStop;
  std::int32_t completion_tokens = 0;
  std::int32_t dropped_tokens = 0;  // generated and taken back
  std::shared_ptr<const SupervisionReport> supervision;
};
// In the order of the prompts. done: called with the number of answers complete so far. Errors:
// those of Engine::submit and of a failed generation.
Result<std::vector<Answer>> answer_all(Engine& engine, const Tokenizer& tokenizer,
                                       const std::vector<std::vector<TokenSpan>>& prompts,
                                       const AnswerOptions& options,
                                       const std::function<void(std::size_t)>& done);

}  // namespace fieldprint::app
