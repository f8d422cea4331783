#include "app/support/bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "kv/block_pool.h"
#include "kv/block_table.h"

namespace fieldprint::app {
namespace {

// A fixed stream of token ids, so that two runs measure the same work.
class TokenStream {
 public:
  explicit TokenStream(std::int32_t vocab) : vocab_(static_cast<std::uint64_t>(vocab)) {}
  TokenId next() {
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<TokenId>((state_ >> 33) % vocab_);
  }

 private:
  std::uint64_t state_ = 1;
  std::uint64_t vocab_;
};

struct BenchSequence {
  explicit BenchSequence(BlockPool& pool) : table(pool) {}
  BlockTable table;
  std::vector<TokenId> tokens;
  std::vector<RowSlot> slots;
};

// Appends `count` tokens to every sequence and evaluates them in one step.
Status step(Runner& runner, std::vector<BenchSequence>& sequences, TokenStream& stream,
            std::int32_t count, LogitsWanted logits) {
  std::vector<SequenceStep> steps;
  for (BenchSequence& sequence : sequences) {
    sequence.tokens.clear();
    for (std::int32_t i = 0; i < count; ++i) sequence.tokens.push_back(stream.next());
    const std::int32_t position = sequence.table.length();
    FP_ASSIGN(AppendedRows rows, sequence.table.commit(KvClass::kUser, count));
    sequence.slots = std::move(rows.slots);
    SequenceStep& part = steps.emplace_back();
    part.tokens = sequence.tokens;
    part.slots = sequence.slots;
    part.logits = logits;
    part.plan.first_query_pos = position;
    part.plan.pages = sequence.table.page_entries();
    part.plan.leaves = sequence.table.leaves();
  }
  const Result<StepOutput> output = runner.forward(steps);
  if (!output) return tl::unexpected(output.error());
  return {};
}

Status prefill(Runner& runner, std::vector<BenchSequence>& sequences, TokenStream& stream,
               std::int32_t tokens, std::int32_t chunk) {
  for (std::int32_t done = 0; done < tokens; done += chunk) {
    const std::int32_t count = std::min(chunk, tokens - done);
    const bool last = done + count == tokens;
    FP_TRY(
        step(runner, sequences, stream, count, last ? LogitsWanted::kLast : LogitsWanted::kNone));
  }
  return {};
}

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// gaps: where the time of each generated token goes; null: nowhere.
Status measured_part(Runner& runner, std::vector<BenchSequence>& sequences, TokenStream& stream,
                     const BenchCase& c, std::int32_t tokens, std::vector<double>* gaps) {
  if (c.prompt > 0) return prefill(runner, sequences, stream, tokens, c.batch);
  for (std::int32_t i = 0; i < tokens; ++i) {
    const Clock::time_point start = Clock::now();
    FP_TRY(step(runner, sequences, stream, 1, c.wanted));
    if (gaps != nullptr) gaps->push_back(seconds_since(start));
  }
  return {};
}

// What a decode step cannot avoid: every weight once (one row of an untied embedding table),
// and each sequence's KV rows. Prompts reuse weights within a step: no such bound.
double bytes_of(const Model& model, const BenchCase& c, const BenchBytes& bytes) {
  if (c.prompt > 0) return 0;
  auto weights = static_cast<double>(bytes.weights);
  if (!model.config.tied_embeddings) weights -= static_cast<double>(bytes.embedding);
  const double mean_length = c.depth + (c.generate + 1) / 2.0;
  return c.generate *
         (weights + c.parallel * mean_length * static_cast<double>(bytes.kv_per_token));
}

}  // namespace

std::string bench_case_name(const BenchCase& c) {
  std::string name = c.prompt > 0 ? fmt::format("pp{}", c.prompt) : fmt::format("tg{}", c.generate);
  if (c.parallel > 1) name += fmt::format(" x{}", c.parallel);
  if (c.depth > 0) name += fmt::format(" @ d{}", c.depth);
  return name;
}

double BenchResult::tokens() const {
  if (bench_case.prompt > 0) return bench_case.prompt;
  return static_cast<double>(bench_case.generate) * bench_case.parallel;
}

double BenchResult::mean_rate() const {
  double sum = 0;
  for (const double s : seconds) sum += tokens() / s;
  return seconds.empty() ? 0 : sum / static_cast<double>(seconds.size());
}

double BenchResult::rate_deviation() const {
  if (seconds.size() < 2) return 0;
  const double mean = mean_rate();
  double squares = 0;
  for (const double s : seconds) squares += (tokens() / s - mean) * (tokens() / s - mean);
  return std::sqrt(squares / static_cast<double>(seconds.size() - 1));
}

double BenchResult::gigabytes_per_second() const {
  return tokens() > 0 ? bytes / tokens() * mean_rate() / 1e9 : 0;
}

double BenchResult::latency(double quantile) const {
  std::vector<double> values = bench_case.prompt > 0 ? seconds : gaps;
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double place = quantile * static_cast<double>(values.size() - 1);
  return values[static_cast<std::size_t>(std::lround(place))];
}

std::int64_t bench_kv_tokens(const BenchCase& c) {
  const std::int64_t each = std::int64_t{c.depth} + std::max(c.prompt, c.generate);
  return c.parallel * ((each + kPageRows - 1) / kPageRows + 1) * kPageRows;
}

std::int32_t bench_step_tokens(const BenchCase& c) { return std::max(c.batch, c.parallel); }

Result<BenchResult> run_bench(Runner& runner, const Model& model, const BenchCase& c,
                              int repetitions, const BenchBytes& bytes) {
  BlockPool pool(runner.page_count());
  TokenStream stream(model.config.vocab);
  std::vector<BenchSequence> sequences;
  for (std::int32_t i = 0; i < c.parallel; ++i) {
    std::vector<BenchSequence> one;
    one.emplace_back(pool);  // filled alone: a chunk is one sequence's
    FP_TRY(prefill(runner, one, stream, c.depth, c.batch));
    sequences.push_back(std::move(one.front()));
  }
  BenchResult result;
  result.bench_case = c;
  result.bytes = bytes_of(model, c, bytes);
  const auto forget = [&] {
    for (BenchSequence& sequence : sequences) sequence.table.truncate(c.depth);
  };
  // The warm-up: a whole prompt, or as many tokens as a runner needs to settle on a shape.
  constexpr std::int32_t kWarmTokens = 4;
  FP_TRY(measured_part(runner, sequences, stream, c,
                       c.prompt > 0 ? c.prompt : std::min(c.generate, kWarmTokens), nullptr));
  forget();
  for (int i = 0; i < repetitions; ++i) {
    const Clock::time_point start = Clock::now();
    FP_TRY(
        measured_part(runner, sequences, stream, c, std::max(c.prompt, c.generate), &result.gaps));
    result.seconds.push_back(seconds_since(start));
    forget();
  }
  return result;
}

}  // namespace fieldprint::app
