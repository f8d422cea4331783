// What supervision costs: tokens/s without it, with it, and with the same work done in the step.
//
//   supervisor_bench MODEL.gguf FOLDER COMMIT DEVICE [THREADS] [ROUNDS] [GENERATE] > results.jsonl
//                                                                  (defaults: 2 7 128)
//
// FOLDER is made and holds a ledger, so that segments go all the way to a disk. Four arms on one
// machine, each round all of them, the order reversed every other round:
//   none        nothing is tapped
//   optimistic  sent at once, judged by worker threads
//   strict      held until the segment has passed
//   inline      fingerprint, projection and SHA-256 of every state inside the step, on the
//               engine's thread: what the supervisor's threads are there to avoid
// A figure is tokens per second of wall clock from the submit of 1 or 8 conversations to the end
// of the last one, prompts (16 tokens) and the wait for the last verdict included. The ratio is
// the median over rounds of arm / none in the same round. Then the delay of strict release: how
// many tokens the engine was ahead when a token reached its client, alone and without a pause.
// The recipe is fitted on noise and cannot breach: what is measured is work, not detection.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <ctime>
#include <functional>
#include <numbers>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "anchor/compile.h"
#include "engine/engine.h"
#include "inline_runner.h"
#include "model/chat_template.h"
#include "model/model.h"
#include "runner/cpu/cpu_runner.h"
#include "supervisor/coherence_fit.h"
#include "supervisor/segment_log.h"

namespace fieldprint {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kForever{600'000};
constexpr std::int32_t kPrompt = 16;
constexpr std::int32_t kMaxBatch = 8;
constexpr const char* kIdentity =
    "You are Keeper, the careful assistant of a small museum. You answer in plain words, you say "
    "what you do not know, and you never speak for anybody else.";

struct Plan {
  std::string model;
  std::string folder;
  std::string commit;
  std::string device;  // as it is to stand in the results
  int threads = 2;
  int rounds = 7;
  std::int32_t generate = 128;
};

// What all engines of the bench share.
struct Stage {
  Plan plan;
  std::shared_ptr<const Model> model;
  std::unique_ptr<Tokenizer> tokenizer;
  AnchorBinding anchor;
  std::unique_ptr<Ledger> ledger;
  std::unique_ptr<SegmentLog> log;
  std::int32_t next_prompt = 0;  // prompts are never the same twice: nothing comes from the cache
};

Result<std::unique_ptr<Runner>> make_runner(const Stage& stage) {
  CpuRunnerOptions options;
  options.threads = stage.plan.threads;
  options.kv_tokens = std::int64_t{kMaxBatch + 1} * (kPrompt + stage.plan.generate + 512);
  return make_cpu_runner(stage.model, options);
}

std::vector<float> noise(std::uint64_t seed, std::size_t count, float mean) {
  std::mt19937_64 rng(seed);
  std::normal_distribution<float> normal(mean, 1);
  std::vector<float> out(count);
  for (float& x : out) x = normal(rng);
  return out;
}

// Scores are 0 and no angle reaches the limit, whatever the states are.
Result<std::shared_ptr<const SupervisionModel>> harmless_supervision(const ModelConfig& config) {
  SupervisionRecipe recipe;
  FP_ASSIGN(recipe.fingerprint, make_fingerprint_recipe(config.hidden, {}, 1 << 16));
  CoherenceFitOptions options;
  options.layer = config.layers * 2 / 3;
  const auto samples = static_cast<std::size_t>(config.hidden) * 200;
  FP_ASSIGN(recipe.coherence,
            fit_coherence(config.hidden, noise(1, samples, 0), noise(2, samples, 0.5F), options));
  CoherenceJudge judge;
  judge.map = {3.1, std::numbers::pi};
  judge.mean_bound = 0.1;
  judge.alpha = 1e-4;
  judge.limit = std::numbers::pi;
  judge.limit_alpha = 0.01;
  judge.sessions = 100;
  judge.segments = 1000;
  recipe.judge = judge;
  return SupervisionModel::create(std::move(recipe), config.hidden, config.layers);
}

Status open_ledger(Stage& stage) {
  FP_ASSIGN(SignerKey log, SignerKey::generate("bench.test/log", NoteKeyType::kEd25519));
  FP_ASSIGN(SignerKey cosigner, SignerKey::generate("bench.test/log", NoteKeyType::kCosignature));
  LedgerKeys keys{std::move(log), std::move(cosigner)};
  FP_TRY(Ledger::create(stage.plan.folder, keys));
  FP_ASSIGN(stage.ledger, Ledger::open(stage.plan.folder, std::move(keys)));
  stage.log = std::make_unique<SegmentLog>(*stage.ledger);
  return {};
}

Result<Stage> set_up(const Plan& plan) {
  Stage stage;
  stage.plan = plan;
  FP_ASSIGN(stage.model, load_model(plan.model));
  FP_ASSIGN(stage.tokenizer, Tokenizer::load(plan.model));
  FP_ASSIGN(const ChatTemplate chat, ChatTemplate::create(stage.tokenizer->chat_template()));
  FP_ASSIGN(const std::unique_ptr<Runner> runner, make_runner(stage));
  AnchorCompileOptions options;
  options.name = "keeper";
  options.model_digest = "sha256:" + std::string(64, '0');
  FP_ASSIGN(AnchorArtifact artifact,
            compile_anchor(*runner, *stage.tokenizer, &chat, kIdentity, options));
  stage.anchor.artifact = std::make_shared<const AnchorArtifact>(std::move(artifact));
  FP_ASSIGN(stage.anchor.supervision, harmless_supervision(runner->config()));
  FP_TRY(open_ledger(stage));
  return stage;
}

Result<std::unique_ptr<Engine>> make_engine(Stage& stage, std::unique_ptr<Runner> runner) {
  EngineOptions options;
  options.max_sequences = kMaxBatch;
  options.context_length = kPrompt + stage.plan.generate + 256;
  return Engine::create(std::move(runner), *stage.tokenizer, options, stage.anchor,
                        stage.log.get());
}

GenerationRequest request_of(Stage& stage, std::optional<ReleaseMode> release) {
  const std::int32_t vocab = stage.tokenizer->vocab_size();
  const std::int32_t number = stage.next_prompt++;
  GenerationRequest request;
  request.id = fmt::format("cmpl-bench-{}", number);
  TokenSpan span;
  for (std::int32_t i = 0; i < kPrompt; ++i)
    span.tokens.push_back((number * 7919 + i * 104729 + 1000) % (vocab - 1000) + 500);
  request.prompt = {std::move(span)};
  request.sampling.seed = static_cast<std::uint64_t>(number);
  request.max_tokens = stage.plan.generate;
  request.ignore_eos = true;
  if (release) {
    request.supervision.emplace();
    request.supervision->release = *release;
  }
  return request;
}

using OnDelta = std::function<void(const DeltaEvent&)>;
Status consume(Generation& generation, const OnDelta& on_delta) {
  while (const auto event = generation.next(kForever)) {
    if (const auto* delta = std::get_if<DeltaEvent>(&*event)) {
      if (on_delta) on_delta(*delta);
    } else if (std::holds_alternative<RollbackEvent>(*event)) {
      return fail(ErrorKind::kInternal, "bench_breach", "the recipe was not to breach");
    } else if (const auto* failed = std::get_if<FailedEvent>(&*event)) {
      return tl::unexpected(failed->error);
    } else if (std::holds_alternative<DoneEvent>(*event)) {
      return {};
    }
  }
  return fail(ErrorKind::kInternal, "bench_timeout", "a generation did not end");
}

// Tokens per second of `batch` conversations at once.
Result<double> rate_of(Stage& stage, Engine& engine, std::optional<ReleaseMode> release,
                       int batch) {
  std::vector<std::unique_ptr<Generation>> generations;
  std::vector<Status> ends(static_cast<std::size_t>(batch));
  const Clock::time_point start = Clock::now();
  for (int i = 0; i < batch; ++i) {
    FP_ASSIGN(generations.emplace_back(), engine.submit(request_of(stage, release)));
  }
  std::vector<std::thread> consumers;
  for (std::size_t i = 0; i < generations.size(); ++i)
    consumers.emplace_back([&, i] { ends[i] = consume(*generations[i], {}); });
  for (std::thread& consumer : consumers) consumer.join();
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  for (const Status& end : ends) FP_TRY(end);
  return batch * stage.plan.generate / seconds;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

struct Arm {
  const char* name;
  Engine* engine;
  std::optional<ReleaseMode> release;
  std::vector<double> rates = {};
};

void print_line(const Plan& plan, const std::string& label, double value, const char* unit,
                const char* baseline, double baseline_value, double ratio) {
  fmt::print(
      "{{\"what\": \"supervisor\", \"case\": \"{}\", \"value\": {:.2f}, \"unit\": \"{}\", "
      "\"baseline\": \"{}\", \"baseline_value\": {:.2f}, \"ratio\": {:.4f}, "
      "\"device\": \"{}\", \"date\": \"{:%Y-%m-%d}\", \"commit\": \"{}\"}}\n",
      label, value, unit, baseline, baseline_value, ratio, plan.device,
      fmt::gmtime(std::time(nullptr)), plan.commit);
  std::fflush(stdout);
}

Status compare(Stage& stage, std::vector<Arm>& arms, int batch) {
  for (Arm& arm : arms) {  // warm caches and threads
    arm.rates.clear();
    FP_TRY(rate_of(stage, *arm.engine, arm.release, batch));
  }
  for (int round = 0; round < stage.plan.rounds; ++round) {
    for (std::size_t i = 0; i < arms.size(); ++i) {
      Arm& arm = arms[round % 2 == 0 ? i : arms.size() - 1 - i];
      FP_ASSIGN(const double rate, rate_of(stage, *arm.engine, arm.release, batch));
      arm.rates.push_back(rate);
    }
  }
  for (const Arm& arm : arms) {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < arm.rates.size(); ++i)
      ratios.push_back(arm.rates[i] / arms[0].rates[i]);
    const double ratio = median(ratios);
    fmt::print(stderr, "| {:>5} | {:<10} | {:>9.1f} | {:>7.4f} | {:>7.4f} | {:>7.4f} |\n", batch,
               arm.name, median(arm.rates), ratio, *std::min_element(ratios.begin(), ratios.end()),
               *std::max_element(ratios.begin(), ratios.end()));
    print_line(stage.plan, fmt::format("batch {}, {}", batch, arm.name), median(arm.rates),
               "tokens/s", "none", median(arms[0].rates), ratio);
  }
  return {};
}

// How far the engine was ahead of each token that reached its client.
Status measure_delay(Stage& stage) {
  std::atomic<std::uint64_t> steps{0};
  FP_ASSIGN(std::unique_ptr<Runner> plain, make_runner(stage));
  FP_ASSIGN(const std::unique_ptr<Engine> engine,
            make_engine(stage, std::make_unique<CountingRunner>(std::move(plain), steps)));
  std::vector<double> ahead;
  std::vector<double> lag;  // of the last token of a batch of text: nothing but waiting for it
  for (int round = 0; round < stage.plan.rounds; ++round) {
    GenerationRequest request = request_of(stage, ReleaseMode::kStrict);
    request.sampling.logprobs = 0;       // one entry for each token of a delta
    const std::uint64_t before = steps;  // the first step computes the prompt and gives token 0
    std::uint64_t released = 0;
    FP_ASSIGN(const auto generation, engine->submit(std::move(request)));
    FP_TRY(consume(*generation, [&](const DeltaEvent& delta) {
      const std::uint64_t generated = steps - before;
      for (std::size_t i = 0; i < delta.logprobs.size(); ++i)
        ahead.push_back(static_cast<double>(generated - std::min(generated, ++released)));
      lag.push_back(static_cast<double>(generated - std::min(generated, released)));
    }));
  }
  const auto quantile = [](std::vector<double>& values, double q) {
    std::sort(values.begin(), values.end());
    return values[static_cast<std::size_t>(q * static_cast<double>(values.size() - 1))];
  };
  if (ahead.empty()) return fail(ErrorKind::kInternal, "bench_empty", "no text came");
  const double hold = quantile(ahead, 0.95);
  const double verdict = quantile(lag, 0.95);
  fmt::print(stderr,
             "\nstrict release, one conversation: a token is held for {:.0f} tokens (median), "
             "{:.0f} (95 %);\nafter a segment's last token its text comes within {:.0f} tokens "
             "(95 %)\n",
             quantile(ahead, 0.5), hold, verdict);
  print_line(stage.plan, "strict hold, 95 % of tokens", hold, "tokens", "segment", 32,
             32 / std::max(hold, 1.0));
  print_line(stage.plan, "verdict after a segment's end, 95 %", verdict, "tokens", "segment", 32,
             32 / std::max(verdict, 1.0));
  return {};
}

Status measure(const Plan& plan) {
  FP_ASSIGN(Stage stage, set_up(plan));
  FP_ASSIGN(std::unique_ptr<Runner> plain, make_runner(stage));
  FP_ASSIGN(const std::unique_ptr<Engine> engine, make_engine(stage, std::move(plain)));
  FP_ASSIGN(std::unique_ptr<Runner> inner, make_runner(stage));
  FP_ASSIGN(const std::unique_ptr<Engine> choked,
            make_engine(
                stage, std::make_unique<InlineRunner>(std::move(inner), stage.anchor.supervision)));
  std::vector<Arm> arms = {{"none", engine.get(), std::nullopt},
                           {"optimistic", engine.get(), ReleaseMode::kOptimistic},
                           {"strict", engine.get(), ReleaseMode::kStrict},
                           {"inline", choked.get(), std::nullopt}};
  fmt::print(stderr,
             "| batch | supervised | tokens/s  | / none  | least   | most    |\n"
             "| ----: | :--------- | --------: | ------: | ------: | ------: |\n");
  for (const int batch : {1, kMaxBatch}) FP_TRY(compare(stage, arms, batch));
  const SupervisorMetrics metrics = engine->stats().supervisor;
  fmt::print(stderr,
             "\n{} states in {} segments; {} found no room, {} entries the log did not take, "
             "{} breaches\n",
             metrics.tokens, metrics.segments, metrics.gaps, metrics.unlogged, metrics.breaches);
  if (metrics.gaps + metrics.unlogged + metrics.breaches > 0)
    return fail(ErrorKind::kInternal, "bench_lossy", "something was not supervised: no figures");
  return measure_delay(stage);
}

bool parse(const char* text, int& value, int low) {
  const char* end = text + std::char_traits<char>::length(text);
  const auto [at, error] = std::from_chars(text, end, value);
  return error == std::errc() && at == end && value >= low;
}

}  // namespace
}  // namespace fieldprint

int main(int argc, char** argv) {
  fieldprint::Plan plan;
  const bool good = argc >= 5 && argc <= 8 &&
                    (argc < 6 || fieldprint::parse(argv[5], plan.threads, 1)) &&
                    (argc < 7 || fieldprint::parse(argv[6], plan.rounds, 1)) &&
                    (argc < 8 || fieldprint::parse(argv[7], plan.generate, 64));
  if (!good) {
    fmt::print(stderr,
               "usage: supervisor_bench MODEL.gguf FOLDER COMMIT DEVICE [THREADS] [ROUNDS] "
               "[GENERATE]\n");
    return 2;
  }
  plan.model = argv[1];
  plan.folder = argv[2];
  plan.commit = argv[3];
  plan.device = argv[4];
  const fieldprint::Status done = fieldprint::measure(plan);
  if (done) return 0;
  fmt::print(stderr, "supervisor_bench: {}: {}\n", done.error().code, done.error().message);
  return fieldprint::exit_code(done.error());
}
