#include "app/support/bench.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "app/commands/commands.h"
#include "app/support/build_info.h"
#include "app/support/format.h"
#include "app/support/model_stack.h"
#include "runner/cpu/cpu_runner.h"
#include "runner/cuda/cuda_runner.h"

namespace fieldprint::app {
namespace {

std::vector<BenchCase> cases_of(const Settings& settings) {
  std::vector<BenchCase> cases;
  const LogitsWanted wanted = settings.flag("greedy") ? LogitsWanted::kBest : LogitsWanted::kLast;
  // Contexts are filled in steps of this size before a generation is measured.
  constexpr std::int32_t kFill = 512;
  const std::int32_t fill = std::max(settings.integers("batch").front(), kFill);
  for (const std::int32_t depth : settings.integers("depth")) {
    for (const std::int32_t prompt : settings.integers("prompt-tokens"))
      for (const std::int32_t batch : settings.integers("batch"))
        if (prompt > 0) cases.push_back({prompt, 0, depth, batch, 1});
    for (const std::int32_t generate : settings.integers("gen-tokens"))
      for (const std::int32_t parallel : settings.integers("parallel"))
        if (generate > 0) cases.push_back({0, generate, depth, fill, parallel, wanted});
  }
  return cases;
}

bool on_cuda(const Settings& settings) { return settings.text("device") == "cuda"; }

struct Row {
  BenchResult result;
  int threads = 0;
  std::string profile;
  std::string device;
  double read_limit = 0;  // GB/s that the device was seen to read; 0: not measured
};

// On a GPU every weight is bf16, whatever the file holds.
BenchBytes bytes_of(const Settings& settings, const Model& model) {
  BenchBytes bytes;
  const GgufTensor* embedding = model.file->tensor("token_embd.weight");
  bytes.weights = static_cast<std::int64_t>(model.weight_bytes);
  if (embedding != nullptr) bytes.embedding = static_cast<std::int64_t>(embedding->bytes);
  if (on_cuda(settings)) {
    constexpr std::int64_t kBf16 = 2;
    bytes.weights = kBf16 * model.parameters;
    bytes.embedding = kBf16 * model.config.vocab * model.config.hidden;
  }
  bytes.kv_per_token = kv_bytes_per_token(model.config, settings.text("kv-dtype"));
  return bytes;
}

nlohmann::ordered_json known(double value) {
  return value > 0 ? nlohmann::ordered_json(value) : nlohmann::ordered_json();
}

// GB/s of the generation over what the device can read; 0: one of them is not known.
double share_of_limit(const Row& row) {
  const bool both = row.result.bytes > 0 && row.read_limit > 0;
  return both ? row.result.gigabytes_per_second() / row.read_limit : 0;
}

nlohmann::ordered_json row_json(const ModelStack& stack, const Settings& settings, const Row& row) {
  const BenchResult& r = row.result;
  nlohmann::ordered_json samples_ns = nlohmann::ordered_json::array();
  nlohmann::ordered_json samples_ts = nlohmann::ordered_json::array();
  for (const double s : r.seconds) {
    samples_ns.push_back(static_cast<std::int64_t>(s * 1e9));
    samples_ts.push_back(r.tokens() / s);
  }
  return {{"build_commit", build_info().commit},
          {"model_filename", stack.path},
          {"model_digest", stack.digest},
          {"model_type", stack.model->config.architecture + " " + stack.model->quantization},
          {"model_size", stack.model->weight_bytes},
          {"model_n_params", stack.model->parameters},
          {"backends", on_cuda(settings) ? "CUDA" : "CPU"},
          {"device", row.device},
          {"numeric_profile", row.profile},
          {"type_kv", settings.text("kv-dtype")},
          {"n_threads", row.threads},
          {"n_batch", r.bench_case.batch},
          {"n_prompt", r.bench_case.prompt},
          {"n_gen", r.bench_case.generate},
          {"n_depth", r.bench_case.depth},
          {"n_parallel", r.bench_case.parallel},
          {"greedy", r.bench_case.wanted == LogitsWanted::kBest},
          {"avg_ts", r.mean_rate()},
          {"stddev_ts", r.rate_deviation()},
          {"avg_gbs", known(r.bytes > 0 ? r.gigabytes_per_second() : 0)},
          {"read_limit_gbs", known(row.read_limit)},
          {"read_share", known(share_of_limit(row))},
          {r.bench_case.prompt > 0 ? "ttft_ms" : "itl_ms",
           {{"p50", 1e3 * r.latency(0.5)},
            {"p95", 1e3 * r.latency(0.95)},
            {"p99", 1e3 * r.latency(0.99)}}},
          {"samples_ns", std::move(samples_ns)},
          {"samples_ts", std::move(samples_ts)}};
}

void print_markdown_head() {
  fmt::print(
      "| {:<28} | {:>10} | {:>8} | {:<7} | {:>7} | {:<16} | {:>20} | {:>16} | {:>7} | {:>6} |\n",
      "model", "size", "params", "backend", "threads", "test", "t/s", "p50/p99 ms", "GB/s",
      "limit");
  fmt::print(
      "| {:-<28} | {:->9}: | {:->7}: | {:-<7} | {:->6}: | {:-<16} | {:->19}: | {:->15}: | {:->6}: "
      "| {:->5}: |\n",
      "", "", "", "", "", "", "", "", "", "");
}

void print_markdown(const ModelStack& stack, const Settings& settings, const Row& row) {
  const BenchResult& r = row.result;
  const double share = share_of_limit(row);
  fmt::print(
      "| {:<28} | {:>10} | {:>8} | {:<7} | {:>7} | {:<16} | {:>11.2f} ± {:>6.2f} | {:>16} | {:>7} "
      "| {:>6} |\n",
      std::filesystem::path(stack.path).stem().string().substr(0, 28),
      human_bytes(stack.model->weight_bytes), human_count(stack.model->parameters),
      on_cuda(settings) ? "CUDA" : "CPU", row.threads, bench_case_name(r.bench_case), r.mean_rate(),
      r.rate_deviation(), fmt::format("{:.2f}/{:.2f}", 1e3 * r.latency(0.5), 1e3 * r.latency(0.99)),
      r.bytes > 0 ? fmt::format("{:.2f}", r.gigabytes_per_second()) : "",
      share > 0 ? fmt::format("{:.0f} %", 100 * share) : "");
  std::fflush(stdout);
}

// Every case with one thread count, on one runner that is large enough for all.
Status measure(const Settings& settings, const ModelStack& stack, int threads,
               const std::function<void(const Row&)>& show) {
  const std::vector<BenchCase> cases = cases_of(settings);
  if (cases.empty())
    return fail(ErrorKind::kInvalid, "option_value", "nothing to measure: -p and -n are both 0",
                "prompt-tokens");
  RunnerSize size;
  size.threads = threads;
  size.max_step_tokens = 1;
  for (const BenchCase& c : cases) {
    size.kv_tokens = std::max(size.kv_tokens, bench_kv_tokens(c));
    size.max_step_tokens = std::max(size.max_step_tokens, bench_step_tokens(c));
  }
  double read_limit = 0;
  if (on_cuda(settings)) {
    FP_ASSIGN(const double bytes_per_second, cuda_read_rate());
    read_limit = bytes_per_second / 1e9;
  }
  FP_ASSIGN(const std::unique_ptr<Runner> runner, make_runner(settings, stack, size, {}));
  const BenchBytes bytes = bytes_of(settings, *stack.model);
  for (const BenchCase& c : cases) {
    FP_ASSIGN(BenchResult result,
              run_bench(*runner, *stack.model, c, static_cast<int>(settings.integer("repetitions")),
                        bytes));
    show(
        {std::move(result), threads, runner->numeric_profile(), runner->device_name(), read_limit});
  }
  return {};
}

int resolved_threads(std::int32_t wanted) { return wanted > 0 ? wanted : usable_cores(); }

}  // namespace

Result<int> cmd_bench(const CommandInput& input) {
  const Settings& settings = input.settings;
  FP_ASSIGN(const ModelStack stack, open_model(settings));
  const std::string& form = settings.text("output");
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  if (form == "md") print_markdown_head();
  // A GPU has no use for them: one round.
  const std::vector<std::int32_t> thread_counts =
      on_cuda(settings) ? std::vector<std::int32_t>{1} : settings.integers("thread-counts");
  for (const std::int32_t threads : thread_counts) {
    FP_TRY(measure(settings, stack, resolved_threads(threads), [&](const Row& row) {
      if (form == "md") {
        print_markdown(stack, settings, row);
        return;
      }
      const nlohmann::ordered_json json = row_json(stack, settings, row);
      if (form == "jsonl") {
        fmt::print("{}\n", json.dump());
        std::fflush(stdout);
      } else {
        all.push_back(json);
      }
    }));
  }
  if (form == "json") fmt::print("{}\n", all.dump(2));
  return 0;
}

}  // namespace fieldprint::app
