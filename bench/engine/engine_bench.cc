// What the engine costs over its runner, and how evenly it serves.
//
//   engine_bench MODEL.gguf [THREADS] [PROMPT] [GENERATE]     (defaults: 2 64 64)
//
// For 1, 2, 4, 8 and 16 conversations at once: the runner's own decode rate on as many
// sequences (no scheduler, no sampler, as `fieldprint bench -np`), then whole generations
// through the engine with a consumer thread each. Both use the same runner settings on the
// same machine, one after the other. Columns: aggregate tokens/s of both while all decode,
// their ratio, time to the first token (median, last), and how much later than the first the
// last conversation ended, as a share of the whole.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <vector>

#include "app/support/bench.h"
#include "app/support/model_stack.h"
#include "engine/engine.h"
#include "runner/cpu/cpu_runner.h"

namespace fieldprint {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::int32_t kMaxConversations = 16;
constexpr std::chrono::milliseconds kForever{600'000};

struct Sizes {
  int threads = 2;
  std::int32_t prompt = 64;
  std::int32_t generate = 64;
};

struct Timing {  // seconds since the start
  double first_token = 0;
  double end = 0;
  bool good = false;
};

Result<std::unique_ptr<Runner>> runner_for(const std::shared_ptr<const Model>& model,
                                           const Sizes& sizes) {
  CpuRunnerOptions options;
  options.threads = sizes.threads;
  options.kv_tokens = std::int64_t{kMaxConversations} * (sizes.prompt + sizes.generate + 64);
  return make_cpu_runner(model, options);
}

// Distinct tokens for each conversation, so that the prefix cache cannot help.
GenerationRequest request_of(std::int32_t number, const Sizes& sizes, std::int32_t vocab) {
  GenerationRequest request;
  request.id = fmt::format("cmpl-bench-{}", number);
  TokenSpan span;
  for (std::int32_t i = 0; i < sizes.prompt; ++i)
    span.tokens.push_back((number * 7919 + i * 104729 + 1000) % (vocab - 1000) + 500);
  request.prompt = {std::move(span)};
  request.sampling.seed = static_cast<std::uint64_t>(number);
  request.max_tokens = sizes.generate;
  request.ignore_eos = true;
  return request;
}

Timing consume(Generation& generation, Clock::time_point start) {
  Timing timing;
  const auto passed = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  while (const auto event = generation.next(kForever)) {
    if (std::holds_alternative<DeltaEvent>(*event) && timing.first_token == 0)
      timing.first_token = passed();
    timing.good = std::holds_alternative<DoneEvent>(*event);
    if (timing.good || std::holds_alternative<FailedEvent>(*event)) break;
  }
  timing.end = passed();
  return timing;
}

Result<std::vector<Timing>> converse(Engine& engine, std::int32_t conversations,
                                     const Sizes& sizes) {
  std::vector<std::unique_ptr<Generation>> generations;
  std::vector<Timing> timings(static_cast<std::size_t>(conversations));
  const Clock::time_point start = Clock::now();
  for (std::int32_t i = 0; i < conversations; ++i) {
    FP_ASSIGN(generations.emplace_back(),
              engine.submit(request_of(i, sizes, engine.config().vocab)));
  }
  std::vector<std::thread> consumers;
  for (std::size_t i = 0; i < generations.size(); ++i)
    consumers.emplace_back([&, i] { timings[i] = consume(*generations[i], start); });
  for (std::thread& consumer : consumers) consumer.join();
  for (const Timing& timing : timings)
    if (!timing.good)
      return fail(ErrorKind::kInternal, "generation_failed", "a conversation did not finish");
  return timings;
}

void print_row(std::int32_t conversations, const Sizes& sizes, double runner_rate,
               const std::vector<Timing>& timings) {
  std::vector<double> first;
  std::vector<double> end;
  for (const Timing& timing : timings) {
    first.push_back(timing.first_token);
    end.push_back(timing.end);
  }
  std::sort(first.begin(), first.end());
  std::sort(end.begin(), end.end());
  // From the first token of the last conversation on, all of them decode.
  const double decode = end.back() - first.back();
  const double rate = conversations * (sizes.generate - 1) / decode;
  fmt::print("| {:>13} | {:>10.1f} | {:>10.1f} | {:>5.2f} | {:>9.3f} | {:>9.3f} | {:>6.1f} % |\n",
             conversations, runner_rate, rate, rate / runner_rate, first[first.size() / 2],
             first.back(), 100 * (end.back() - end.front()) / end.back());
  std::fflush(stdout);
}

Status measure(const std::string& path, const Sizes& sizes) {
  FP_ASSIGN(const std::shared_ptr<const Model> model, load_model(path));
  FP_ASSIGN(const std::unique_ptr<Tokenizer> tokenizer, Tokenizer::load(path));
  fmt::print(
      "| conversations | runner t/s | engine t/s | ratio | TTFT p50 s | TTFT max s | skew |\n"
      "| ------------: | ---------: | ---------: | ----: | --------: | --------: | -----: |\n");
  for (std::int32_t count = 1; count <= kMaxConversations; count *= 2) {
    FP_ASSIGN(std::unique_ptr<Runner> runner, runner_for(model, sizes));
    const app::BenchCase bench_case{0, sizes.generate, sizes.prompt, 512, count};
    FP_ASSIGN(const app::BenchResult raw, app::run_bench(*runner, *model, bench_case, 2, {}));
    EngineOptions options;
    options.context_length = sizes.prompt + sizes.generate;
    options.max_sequences = kMaxConversations;
    FP_ASSIGN(const std::unique_ptr<Engine> engine,
              Engine::create(std::move(runner), *tokenizer, options, {}));
    FP_ASSIGN(const std::vector<Timing> timings, converse(*engine, count, sizes));
    print_row(count, sizes, raw.mean_rate(), timings);
  }
  return {};
}

}  // namespace
}  // namespace fieldprint

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fputs("usage: engine_bench MODEL.gguf [THREADS] [PROMPT] [GENERATE]\n", stderr);
    return 2;
  }
  fieldprint::Sizes sizes;
  if (argc > 2) sizes.threads = std::atoi(argv[2]);
  if (argc > 3) sizes.prompt = std::max(1, std::atoi(argv[3]));
  if (argc > 4) sizes.generate = std::max(2, std::atoi(argv[4]));
  const fieldprint::Status status = fieldprint::measure(argv[1], sizes);
  if (status) return 0;
  std::fprintf(stderr, "engine_bench: %s: %s\n", status.error().code.c_str(),
               status.error().message.c_str());
  return fieldprint::exit_code(status.error());
}
