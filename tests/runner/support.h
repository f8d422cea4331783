// What tests of real models share: where the models are, and a sequence that feeds
// a runner through the real block table.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kv/block_pool.h"
#include "kv/block_table.h"
#include "model/model.h"
#include "model/tokenizer.h"
#include "runner/cpu/cpu_runner.h"

namespace fieldprint::test {

inline std::string model_path(const std::string& file) {
  const char* folder = std::getenv("FIELDPRINT_MODELS_DIR");
  return (folder != nullptr ? std::string(folder) : std::string(FP_SOURCE_DIR "/models")) + "/" +
         file;
}
inline std::string smollm2_path() { return model_path("SmolLM2-135M-Instruct.Q4_1.gguf"); }
inline std::string gemma3_path() { return model_path("gemma-3-270m-q4_k_m.gguf"); }

inline std::string read_text(const std::string& name) {
  std::ifstream in(std::string(FP_SOURCE_DIR "/tests/runner/data/") + name);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// The value, or a failed test with the error's text. Models are fetched by `make
// test`, so a missing one is a failure, not a skip.
template <typename T>
T must(Result<T> result) {
  if (!result) {
    ADD_FAILURE() << result.error().code << ": " << result.error().message;
    std::abort();
  }
  return std::move(*result);
}

inline std::unique_ptr<Runner> open_runner(const std::string& path, CpuRunnerOptions options = {}) {
  if (options.kv_tokens == 0) options.kv_tokens = 4096;
  return must(make_cpu_runner(must(load_model(path)), options));
}

// One sequence over a runner's pages.
class TestSequence {
 public:
  TestSequence(Runner& runner, BlockPool& pool) : runner_(&runner), table_(pool) {}

  BlockTable& table() { return table_; }

  // The step that appends `tokens`; keep the sequence and tokens alive until forward().
  SequenceStep step(std::span<const TokenId> tokens, LogitsWanted wanted,
                    KvClass cls = KvClass::kUser) {
    const std::int32_t first = table_.length();
    auto rows = must(table_.commit(cls, static_cast<std::int32_t>(tokens.size())));
    if (rows.copy) must_ok(runner_->copy_page(rows.copy->from, rows.copy->to));
    slots_ = std::move(rows.slots);
    SequenceStep step;
    step.tokens = tokens;
    step.slots = slots_;
    step.logits = wanted;
    step.plan.first_query_pos = first;
    step.plan.pages = table_.page_entries();
    step.plan.leaves = table_.leaves();
    return step;
  }

  // Feeds tokens in chunks; logits of every token, [tokens][vocab].
  std::vector<float> feed_all(std::span<const TokenId> tokens, std::size_t chunk) {
    std::vector<float> logits;
    for (std::size_t at = 0; at < tokens.size(); at += chunk) {
      const auto part = tokens.subspan(at, std::min(chunk, tokens.size() - at));
      const SequenceStep one = step(part, LogitsWanted::kAll);
      const StepOutput out = must(runner_->forward({&one, 1}));
      logits.insert(logits.end(), out.logits.begin(), out.logits.end());
    }
    return logits;
  }

 private:
  static void must_ok(const Status& status) { ASSERT_TRUE(status) << status.error().message; }

  Runner* runner_;
  BlockTable table_;
  std::vector<RowSlot> slots_;
};

inline std::size_t argmax(std::span<const float> row) {
  return static_cast<std::size_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

// e^x for x <= 0, relative error under 1e-5; plain arithmetic so that it vectorises
// (the comparisons below take millions of them).
inline float exp_negative(float x) {
  const float y = std::max(x, -80.0F) * 1.44269504F;
  const float n = static_cast<float>(static_cast<int>(y - 0.5F));
  const float r = (y - n) * 0.69314718F;
  const float p =
      1 + r * (1 + r * (0.5F + r * (0.16666667F + r * (0.041666667F + r * 0.0083333F))));
  return p * std::bit_cast<float>((static_cast<int>(n) + 127) << 23);
}

// Sum of f(0..n-1) in 16 lanes, a form that compilers vectorise.
template <typename F>
double sum_in_lanes(std::size_t n, F f) {
  float lanes[16] = {};
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (std::size_t j = 0; j < 16; ++j) lanes[j] += f(i + j);
  }
  double sum = 0;
  for (const float lane : lanes) sum += lane;
  for (; i < n; ++i) sum += f(i);
  return sum;
}

// log of the softmax's denominator.
inline double log_sum(std::span<const float> row) {
  const float top = *std::max_element(row.begin(), row.end());
  const double sum =
      sum_in_lanes(row.size(), [&](std::size_t i) { return exp_negative(row[i] - top); });
  return top + std::log(sum);
}

// KL(a || b) in nats from logits.
inline double kl_divergence(std::span<const float> a, std::span<const float> b) {
  const auto la = static_cast<float>(log_sum(a));
  const auto lb = static_cast<float>(log_sum(b));
  const double sum = sum_in_lanes(a.size(), [&](std::size_t i) {
    const float pa = a[i] - la;
    return exp_negative(std::min(pa, 0.0F)) * (pa - (b[i] - lb));
  });
  return std::max(sum, 0.0);
}

// How two models' logits over the same tokens differ.
struct Comparison {
  double same_argmax = 0;  // share of positions
  double mean_kl = 0;      // KL(reference || ours), nats
  double perplexity_reference = 0;
  double perplexity = 0;
};

inline Comparison compare(std::span<const TokenId> tokens, std::span<const float> reference,
                          std::span<const float> ours, std::size_t vocab) {
  Comparison result;
  const std::size_t n = tokens.size();
  double nll_reference = 0;
  double nll = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const auto a = reference.subspan(i * vocab, vocab);
    const auto b = ours.subspan(i * vocab, vocab);
    result.same_argmax += argmax(a) == argmax(b) ? 1.0 : 0.0;
    result.mean_kl += kl_divergence(a, b);
    if (i + 1 < n) {
      const auto next = static_cast<std::size_t>(tokens[i + 1]);
      nll_reference -= a[next] - log_sum(a);
      nll -= b[next] - log_sum(b);
    }
  }
  result.same_argmax /= static_cast<double>(n);
  result.mean_kl /= static_cast<double>(n);
  result.perplexity_reference = std::exp(nll_reference / static_cast<double>(n - 1));
  result.perplexity = std::exp(nll / static_cast<double>(n - 1));
  return result;
}

}  // namespace fieldprint::test
