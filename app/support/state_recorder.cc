#include "app/support/state_recorder.h"

#include <utility>

#include "core/check.h"

namespace fieldprint::app {
namespace {

class StateRecorder final : public Runner {
 public:
  StateRecorder(std::unique_ptr<Runner> runner, RecordedStates& states)
      : runner_(std::move(runner)), recorded_(states) {}

  Result<StepOutput> forward(std::span<const SequenceStep> steps) override {
    FP_CHECK(steps.size() == 1 && steps[0].tap == TapWanted::kNone);
    SequenceStep step = steps[0];
    step.tap = TapWanted::kFinal;
    step.logits = LogitsWanted::kAll;
    FP_ASSIGN(StepOutput output, runner_->forward({&step, 1}));
    recorded_.tokens.insert(recorded_.tokens.end(), step.tokens.begin(), step.tokens.end());
    recorded_.states.insert(recorded_.states.end(), output.tap_final.begin(),
                            output.tap_final.end());
    output.tap_final = {};
    const std::size_t rows = steps[0].logits == LogitsWanted::kNone   ? 0
                             : steps[0].logits == LogitsWanted::kLast ? 1
                                                                      : step.tokens.size();
    output.logits = output.logits.last(rows * static_cast<std::size_t>(output.vocab_size));
    output.hidden = output.hidden.last(rows * static_cast<std::size_t>(output.hidden_size));
    return output;
  }

  Status copy_page(PageId from, PageId to) override { return runner_->copy_page(from, to); }
  Result<PageRows> read_page(int layer, PageId page, int rows) override {
    return runner_->read_page(layer, page, rows);
  }
  Status write_page(int layer, PageId page, int rows, const PageRows& data) override {
    return runner_->write_page(layer, page, rows, data);
  }
  const ModelConfig& config() const override { return runner_->config(); }
  std::int32_t page_count() const override { return runner_->page_count(); }
  std::int32_t max_step_tokens() const override { return runner_->max_step_tokens(); }
  std::string device_name() const override { return runner_->device_name(); }
  std::string numeric_profile() const override { return runner_->numeric_profile(); }

 private:
  std::unique_ptr<Runner> runner_;
  RecordedStates& recorded_;
};

}  // namespace

std::unique_ptr<Runner> record_states(std::unique_ptr<Runner> runner, RecordedStates& states) {
  return std::make_unique<StateRecorder>(std::move(runner), states);
}

}  // namespace fieldprint::app
