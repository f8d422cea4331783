#include "app/calibrate/answers.h"

#include <deque>
#include <variant>

#include "core/check.h"

namespace fieldprint::app {
namespace {

constexpr std::chrono::milliseconds kPoll{200};

GenerationRequest request_for(const std::vector<TokenSpan>& prompt, const AnswerOptions& options,
                              std::size_t number) {
  GenerationRequest request;
  request.id = "calibrate-" + std::to_string(number);
  request.prompt = prompt;
  request.sampling.temperature = options.temperature;
  request.sampling.top_p = options.top_p;
  request.sampling.seed = options.seed + number;
  request.max_tokens = options.max_tokens;
  request.use_anchor = options.anchored;
  request.supervision = options.supervision;
  return request;
}

Result<Answer> collect(Generation& generation, const Tokenizer& tokenizer) {
  Answer answer;
  while (true) {
    const std::optional<GenerationEvent> event = generation.next(kPoll);
    if (!event) continue;
    if (const auto* delta = std::get_if<DeltaEvent>(&*event)) {
      answer.text += delta->text;
    } else if (const auto* back = std::get_if<RollbackEvent>(&*event)) {
      FP_CHECK(back->text_bytes <= answer.text.size());
      answer.text.resize(static_cast<std::size_t>(back->text_bytes));
    } else if (const auto* choice = std::get_if<ChoiceDoneEvent>(&*event)) {
      answer.tokens = choice->tokens;
      answer.seed = choice->seed;
      answer.reason = choice->reason;
      answer.supervision = choice->supervision;
    } else if (const auto* failed = std::get_if<FailedEvent>(&*event)) {
      return tl::unexpected(failed->error);
    } else {
      const UsageReport& usage = std::get<DoneEvent>(*event).usage;
      answer.completion_tokens = usage.completion_tokens;
      answer.dropped_tokens = usage.dropped_tokens;
      while (!answer.tokens.empty() && tokenizer.is_end_of_generation(answer.tokens.back())) {
        answer.tokens.pop_back();
      }
      return answer;
    }
  }
}

}  // namespace

Result<std::vector<Answer>> answer_all(Engine& engine, const Tokenizer& tokenizer,
                                       const std::vector<std::vector<TokenSpan>>& prompts,
                                       const AnswerOptions& options,
                                       const std::function<void(std::size_t)>& done) {
  // As many in the engine as it runs at once, so that no queue limit is met.
  const auto at_once = static_cast<std::size_t>(engine.options().max_sequences) * 2;
  std::deque<std::unique_ptr<Generation>> running;
  std::vector<Answer> answers;
  std::size_t next = 0;
  while (answers.size() < prompts.size()) {
    while (next < prompts.size() && running.size() < at_once) {
      FP_ASSIGN(std::unique_ptr<Generation> generation,
                engine.submit(request_for(prompts[next], options, next)));
      running.push_back(std::move(generation));
      ++next;
    }
    FP_ASSIGN(Answer answer, collect(*running.front(), tokenizer));
    running.pop_front();
    answers.push_back(std::move(answer));
    if (done) done(answers.size());
  }
  return answers;
}

}  // namespace fieldprint::app
