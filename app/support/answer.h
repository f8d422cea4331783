// Consumes one generation: streams its text, collects the totals.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "app/config/settings.h"
#include "engine/engine.h"

namespace fieldprint::app {

struct Answer {
  std::string text;
  FinishReason reason = FinishReason::kStop;
  std::uint64_t seed = 0;
  UsageReport usage;
  std::shared_ptr<const SupervisionReport> supervision;  // null: it was not supervised
};

// What is shown of an answer while it comes.
class AnswerView {
 public:
  virtual ~AnswerView() = default;
  virtual void text(std::string_view piece) = 0;
  // Only the first `kept` bytes of the answer's text stay. Under optimistic release only.
  virtual void retract(std::size_t kept) = 0;
};
// Onto standard output. Text can be taken back from a terminal; elsewhere it is a bug to ask.
std::unique_ptr<AnswerView> make_terminal_view();
std::unique_ptr<AnswerView> make_pipe_view();

// Submits the request and waits for its end. When *cancel becomes true the generation is
// cancelled and the error is `cancelled`; text so far was shown. view may be null. Errors: those
// of Engine::submit and of FailedEvent.
Result<Answer> generate(Engine& engine, GenerationRequest request, AnswerView* view,
                        const std::atomic<bool>& cancel);

// The sampling flags of run and complete.
SamplingParams sampling_from(const Settings& settings);

// Cancels on SIGINT: the first sets the flag and interrupts a read() of the thread that made
// the object, the second exits at once with 130. One object at a time; the destructor
// restores the handler before it.
class InterruptScope {
 public:
  InterruptScope();
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;
  const std::atomic<bool>& flag() const;
  // Forgets an interrupt, before the next answer.
  void reset();
};

}  // namespace fieldprint::app
