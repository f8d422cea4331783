// Greedy generation among other sequences, for tests of who shares a batch with whom.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "runner/support.h"

namespace fieldprint::test {

// Prompt of `subject`, then 64 greedy tokens, with `mates` other sequences of mixed
// lengths prefilled before and decoded in the same steps. Returns the logits of the
// last step and the tokens.
struct GreedyRun {
  std::vector<TokenId> tokens;
  std::vector<float> logits;
};
inline GreedyRun greedy(Runner& runner, std::span<const TokenId> prompt, int mates,
                        std::size_t chunk) {
  BlockPool pool(runner.page_count());
  std::vector<std::unique_ptr<TestSequence>> others;
  for (int i = 0; i < mates; ++i) {
    others.push_back(std::make_unique<TestSequence>(runner, pool));
    const auto length = static_cast<std::size_t>(20 + 29 * i);
    (void)others.back()->feed_all(prompt.subspan(0, std::min(length, prompt.size())), 200);
  }
  TestSequence subject(runner, pool);
  auto logits = subject.feed_all(prompt, chunk);
  const auto vocab = static_cast<std::size_t>(runner.config().vocab);
  GreedyRun run;
  auto next = static_cast<TokenId>(argmax(std::span(logits).last(vocab)));
  for (int i = 0; i < 64; ++i) {
    run.tokens.push_back(next);
    const TokenId filler = prompt[static_cast<std::size_t>(i)];
    std::vector<SequenceStep> steps;
    for (std::size_t m = 0; m < others.size(); ++m) {
      if (m == others.size() / 2) steps.push_back(subject.step({&next, 1}, LogitsWanted::kLast));
      steps.push_back(others[m]->step({&filler, 1}, LogitsWanted::kLast));
    }
    if (others.empty()) steps.push_back(subject.step({&next, 1}, LogitsWanted::kLast));
    const StepOutput out = must(runner.forward(steps));
    const auto row = out.logits.subspan(others.size() / 2 * vocab, vocab);
    run.logits.assign(row.begin(), row.end());
    next = static_cast<TokenId>(argmax(row));
  }
  return run;
}

}  // namespace fieldprint::test
