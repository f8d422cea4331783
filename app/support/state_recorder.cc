#include "app/support/state_recorder.h"

#include <utility>

#include "core/check.h"
#include "runner/step.h"
#include "runner/wrapped_runner.h"

namespace fieldprint::app {
namespace {

class StateRecorder final : public WrappedRunner {
 public:
  StateRecorder(std::unique_ptr<Runner> runner, RecordedStates& states)
      : WrappedRunner(std::move(runner)), recorded_(states) {}

  Result<StepOutput> forward(std::span<const SequenceStep> steps) override {
    FP_CHECK(steps.size() == 1 && steps[0].tap == TapWanted::kNone);
    SequenceStep step = steps[0];
    step.tap = TapWanted::kFinal;
    step.logits = LogitsWanted::kAll;
    FP_ASSIGN(StepOutput output, inner().forward({&step, 1}));
    recorded_.tokens.insert(recorded_.tokens.end(), step.tokens.begin(), step.tokens.end());
    recorded_.states.insert(recorded_.states.end(), output.tap_final.begin(),
                            output.tap_final.end());
    output.tap_final = {};
    const auto rows = static_cast<std::size_t>(output_rows_of(steps[0]));
    output.logits = output.logits.last(rows * static_cast<std::size_t>(output.vocab_size));
    output.hidden = output.hidden.last(rows * static_cast<std::size_t>(output.hidden_size));
    return output;
  }

 private:
  RecordedStates& recorded_;
};

}  // namespace

std::unique_ptr<Runner> record_states(std::unique_ptr<Runner> runner, RecordedStates& states) {
  return std::make_unique<StateRecorder>(std::move(runner), states);
}

}  // namespace fieldprint::app
