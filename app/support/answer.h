// Consumes one generation: streams its text, collects the totals.
#pragma once

#include <atomic>
#include <functional>
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
};

// Called with each piece of text as it comes.
using OnText = std::function<void(std::string_view)>;

// Submits the request and waits for its end. When *cancel becomes true the generation is
// cancelled and the error is `cancelled`; text so far was given to on_text. Errors: those
// of Engine::submit and of FailedEvent.
Result<Answer> generate(Engine& engine, GenerationRequest request, const OnText& on_text,
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
