// Runners around a runner, for the bench: one that does what the supervisor does in the step
// itself, and one that only counts steps.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "crypto/sha256.h"
#include "runner/wrapped_runner.h"
#include "supervisor/recipe.h"

namespace fieldprint {

// Counts steps that are done, for whoever wants to know how far the engine is.
class CountingRunner final : public WrappedRunner {
 public:
  CountingRunner(std::unique_ptr<Runner> inner, std::atomic<std::uint64_t>& steps)
      : WrappedRunner(std::move(inner)), steps_(steps) {}
  Result<StepOutput> forward(std::span<const SequenceStep> steps) override {
    Result<StepOutput> output = inner().forward(steps);
    ++steps_;
    return output;
  }

 private:
  std::atomic<std::uint64_t>& steps_;
};

// The choke: every sampled state is fingerprinted, measured and hashed before the step is over,
// on the thread that everything waits for.
class InlineRunner final : public WrappedRunner {
 public:
  InlineRunner(std::unique_ptr<Runner> inner, std::shared_ptr<const SupervisionModel> model)
      : WrappedRunner(std::move(inner)), model_(std::move(model)) {}

  Result<StepOutput> forward(std::span<const SequenceStep> steps) override {
    std::vector<SequenceStep> tapped(steps.begin(), steps.end());
    for (SequenceStep& step : tapped) {
      if (step.logits == LogitsWanted::kNone) continue;
      step.tap = TapWanted::kFinalAndLayer;
      step.tap_layer = model_->recipe().coherence->layer;
    }
    Result<StepOutput> output = inner().forward(tapped);
    if (!output) return output;
    const auto hidden = static_cast<std::size_t>(output->hidden_size);
    for (std::size_t at = 0; at < output->tap_final.size(); at += hidden) {
      digest_state(output->tap_final.subspan(at, hidden), output->tap_layer.subspan(at, hidden));
    }
    return output;
  }

 private:
  void digest_state(std::span<const float> final, std::span<const float> layer) {
    const auto record = model_->fingerprinter().fingerprint(final);
    if (record) ++fingerprints_;
    model_->coherence()->step(pooled_, layer);
    head_ =
        sha256(std::span(reinterpret_cast<const std::uint8_t*>(final.data()), final.size_bytes()));
  }

  std::shared_ptr<const SupervisionModel> model_;
  CoherenceState pooled_;  // one for all: the work is the same
  std::uint64_t fingerprints_ = 0;
  Digest256 head_{};
};

}  // namespace fieldprint
