// Runs known texts through the model and keeps the states their tokens would be sampled from.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "anchor/pinned.h"
#include "core/error.h"
#include "kv/block_pool.h"
#include "model/chat_template.h"
#include "runner/runner.h"

namespace fieldprint::app {

// A prompt, an answer to it, and whether the anchor is in front of both.
struct ReplayText {
  std::vector<TokenSpan> prompt;  // not empty
  std::vector<TokenId> answer;    // not empty
  bool anchored = false;
};
struct ReplayStates {
  std::vector<float> final;  // [answer, hidden]
  std::vector<float> layer;  // [answer, hidden]
};

class Replayer {
 public:
  // Takes the runner; nobody else may use its pages. Errors: those of PinnedAnchor::load.
  static Result<std::unique_ptr<Replayer>> create(std::unique_ptr<Runner> runner,
                                                  const AnchorArtifact& anchor);

  // States of each text, in order. Several texts share a step where they fit, none is longer than
  // the runner's pages. done: called with the number of texts complete so far. Errors:
  // kv_exhausted, those of the runner.
  Result<std::vector<ReplayStates>> states(std::span<const ReplayText> texts, std::int32_t layer,
                                           const std::function<void(std::size_t)>& done);
  Runner& runner() { return *runner_; }

 private:
  explicit Replayer(std::unique_ptr<Runner> runner)
      : runner_(std::move(runner)), pool_(runner_->page_count()) {}
  struct Job;
  Status run(std::span<Job> jobs, std::int32_t layer);

  std::unique_ptr<Runner> runner_;
  BlockPool pool_;
  std::unique_ptr<PinnedAnchor> anchor_;
};

// Tokens of a text, answer included.
std::size_t token_count(const ReplayText& text);

}  // namespace fieldprint::app
