#include "app/support/answer.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <variant>

#include "app/support/terminal_text.h"
#include "core/check.h"

namespace fieldprint::app {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kPoll{100};  // how soon an interrupt is noticed

// Signal handlers reach only globals.
std::atomic<bool> g_interrupted{false};
struct sigaction g_old_action {};
pthread_t g_waiting_thread;

void on_interrupt(int) {
  // The kernel picks any thread; the one that may sit in read() has to be woken.
  if (pthread_equal(pthread_self(), g_waiting_thread) == 0) {
    pthread_kill(g_waiting_thread, SIGINT);
    return;
  }
  if (g_interrupted.exchange(true)) _exit(130);
}

void print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

class PipeView final : public AnswerView {
  void text(std::string_view piece) override { print(piece); }
  void retract(std::size_t /*kept*/) override { FP_UNREACHABLE(); }  // strict release was asked for
};

class TerminalView final : public AnswerView {
  void text(std::string_view piece) override {
    shown_ += piece;
    print(piece);
  }
  void retract(std::size_t kept) override {
    if (const auto codes = retraction(shown_, kept, terminal_size())) {
      print(*codes);
      shown_.resize(kept);
    } else {  // out of reach: what stays is said again
      shown_.resize(kept);
      print("\n[taken back; the answer so far:]\n" + shown_);
    }
  }

  std::string shown_;  // of the answer, as it stands on the terminal
};

}  // namespace

std::unique_ptr<AnswerView> make_terminal_view() { return std::make_unique<TerminalView>(); }
std::unique_ptr<AnswerView> make_pipe_view() { return std::make_unique<PipeView>(); }

Result<Answer> generate(Engine& engine, GenerationRequest request, AnswerView* view,
                        const std::atomic<bool>& cancel) {
  FP_ASSIGN(const std::unique_ptr<Generation> generation, engine.submit(std::move(request)));
  Answer answer;
  bool cancelled = false;
  while (true) {
    if (cancel.load() && !cancelled) {
      cancelled = true;
      generation->cancel();
    }
    const std::optional<GenerationEvent> event = generation->next(kPoll);
    if (!event) {
      if (cancelled) return fail(ErrorKind::kCancelled, "cancelled", "interrupted");
      continue;
    }
    AnswerView* shown = cancelled ? nullptr : view;
    if (const auto* delta = std::get_if<DeltaEvent>(&*event)) {
      answer.text += delta->text;
      if (shown != nullptr) shown->text(delta->text);
    } else if (const auto* rollback = std::get_if<RollbackEvent>(&*event)) {
      FP_CHECK(rollback->text_bytes <= answer.text.size());
      answer.text.resize(rollback->text_bytes);
      if (shown != nullptr) shown->retract(rollback->text_bytes);
    } else if (const auto* choice = std::get_if<ChoiceDoneEvent>(&*event)) {
      answer.reason = choice->reason;
      answer.seed = choice->seed;
      answer.supervision = choice->supervision;
    } else if (const auto* done = std::get_if<DoneEvent>(&*event)) {
      answer.usage = done->usage;
      return answer;
    } else if (const auto* failed = std::get_if<FailedEvent>(&*event)) {
      return tl::unexpected(failed->error);
    }
  }
}

SamplingParams sampling_from(const Settings& settings) {
  SamplingParams params;
  params.temperature = static_cast<float>(settings.number("temperature"));
  params.top_k = static_cast<std::int32_t>(settings.integer("top-k"));
  params.top_p = static_cast<float>(settings.number("top-p"));
  params.min_p = static_cast<float>(settings.number("min-p"));
  params.repetition_penalty = static_cast<float>(settings.number("repetition-penalty"));
  const std::int64_t seed = settings.integer("seed");
  if (seed >= 0) params.seed = static_cast<std::uint64_t>(seed);
  return params;
}

InterruptScope::InterruptScope() {
  g_interrupted = false;
  g_waiting_thread = pthread_self();
  struct sigaction action {};
  action.sa_handler = on_interrupt;  // no SA_RESTART: a waiting read() must return
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, &g_old_action);
}

InterruptScope::~InterruptScope() { sigaction(SIGINT, &g_old_action, nullptr); }

const std::atomic<bool>& InterruptScope::flag() const { return g_interrupted; }

void InterruptScope::reset() { g_interrupted = false; }

}  // namespace fieldprint::app
