// Time of one draw from one row of logits, by vocabulary and parameters.
// Logits are normal with deviation 3 and three peaks: flatter than a model's, so top-p
// meets large nuclei. Compare rows of one run, not machines.
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "engine/sampler.h"

namespace fieldprint {
namespace {

std::vector<float> make_logits(std::int64_t vocab) {
  std::mt19937 rng(1);
  std::normal_distribution<float> normal(0.0F, 3.0F);
  std::vector<float> logits(static_cast<std::size_t>(vocab));
  for (float& v : logits) v = normal(rng);
  logits[5] += 12.0F;
  logits[100] += 14.0F;
  logits[200] += 13.0F;
  return logits;
}

void draw(benchmark::State& state, const SamplingParams& params) {
  const std::vector<float> logits = make_logits(state.range(0));
  Sampler sampler(params, 1, {});
  std::uint64_t step = 0;
  for (auto _ : state) benchmark::DoNotOptimize(sampler.sample(logits, step++));
}

void register_all() {
  const auto add = [](const char* name, void (*change)(SamplingParams&)) {
    SamplingParams params;
    change(params);
    benchmark::RegisterBenchmark(name, draw, params)
        ->Arg(49152)
        ->Arg(262144)
        ->Unit(benchmark::kMicrosecond);
  };
  add("greedy", [](SamplingParams& p) { p.temperature = 0.0F; });
  add("temperature", [](SamplingParams&) {});
  add("top_k_40", [](SamplingParams& p) { p.top_k = 40; });
  add("top_p_0.95", [](SamplingParams& p) { p.top_p = 0.95F; });
  add("top_p_0.99_hot", [](SamplingParams& p) {
    p.temperature = 2.0F;
    p.top_p = 0.99F;
  });
  add("min_p_0.05", [](SamplingParams& p) { p.min_p = 0.05F; });
  add("greedy_logprobs_5", [](SamplingParams& p) {
    p.temperature = 0.0F;
    p.logprobs = 5;
  });
}

}  // namespace
}  // namespace fieldprint

int main(int argc, char** argv) {
  fieldprint::register_all();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
