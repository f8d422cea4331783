// Speed of a runner, measured as llama-bench does: random tokens, no sampler, logits of the
// last token only, one warm-up before the repetitions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/model.h"
#include "runner/runner.h"

namespace fieldprint::app {

struct BenchCase {
  std::int32_t prompt = 0;                    // tokens of one prompt; 0: a generation test
  std::int32_t generate = 0;                  // tokens of each sequence; 0: a prompt test
  std::int32_t depth = 0;                     // tokens in each context before the measurement
  std::int32_t batch = 512;                   // prompt tokens per step
  std::int32_t parallel = 1;                  // sequences that decode at once
  LogitsWanted wanted = LogitsWanted::kLast;  // of each generated token
};
std::string bench_case_name(const BenchCase& bench_case);  // "pp512 @ d2048", "tg128 x8"

struct BenchResult {
  BenchCase bench_case;
  std::vector<double> seconds;  // of each repetition
  std::vector<double> gaps;     // generation: seconds from token to token, all repetitions
  double bytes = 0;             // weights and KV that one repetition must read at least; 0: unknown

  double tokens() const;  // of one repetition
  double mean_rate() const;
  double rate_deviation() const;  // sample standard deviation of tokens/s
  double gigabytes_per_second() const;
  // Quantile of the gaps between tokens (ITL), or of the time to a prompt's first token (TTFT),
  // in seconds.
  double latency(double quantile) const;
};

// KV tokens (pages rounded up) and step size that a case needs of its runner.
std::int64_t bench_kv_tokens(const BenchCase& bench_case);
std::int32_t bench_step_tokens(const BenchCase& bench_case);

// What the device holds, in bytes.
struct BenchBytes {
  std::int64_t weights = 0;    // all, the embedding table included
  std::int64_t embedding = 0;  // of which this, when it is not the output matrix too
  std::int64_t kv_per_token = 0;
};

// Errors: kv_exhausted, those of Runner::forward.
Result<BenchResult> run_bench(Runner& runner, const Model& model, const BenchCase& bench_case,
                              int repetitions, const BenchBytes& bytes);

}  // namespace fieldprint::app
