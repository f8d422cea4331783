// Logits of the GPU runner against the CPU's: small random models of every family that the
// kernels take, and a real one.
#include "runner/cuda/support.h"
#include "runner/dequantize.h"
#include "runner/synthetic.h"

namespace fieldprint::test {
namespace {

struct Case {
  const char* name;
  SyntheticModel model;
};

class CudaArchitectureTest : public ::testing::TestWithParam<Case> {};

void print(const Comparison& c, const std::string& what) {
  std::printf("  %-28s argmax %.4f  KL %.2e\n", what.c_str(), c.same_argmax, c.mean_kl);
}

// Random weights make noisy logits, the wider the noisier: bf16's rounding moves the best of
// 49152 almost equals now and then. A wrong kernel is off by whole nats.
TEST_P(CudaArchitectureTest, CloseToTheCpu) {
  FP_NEEDS_GPU();
  const std::string path = temporary(std::string(GetParam().name) + ".gguf");
  SyntheticWriter(GetParam().model).write(smollm2_path(), path);
  auto tokens = must(Tokenizer::load(path))->encode(read_text("prose.txt"), false);
  tokens.resize(150);
  CpuRunnerOptions exact;
  exact.kv_dtype = KvDtype::kF32;
  const auto cpu = open_runner(path, exact);
  BlockPool cpu_pool(cpu->page_count());
  const auto expected = TestSequence(*cpu, cpu_pool).feed_all(tokens, 150);
  const auto vocab = static_cast<std::size_t>(cpu->config().vocab);
  for (const NumericProfile profile : {NumericProfile::kFast, NumericProfile::kInvariant}) {
    CudaRunnerOptions options;
    options.profile = profile;
    const auto gpu = open_cuda_runner(path, options);
    BlockPool pool(gpu->page_count());
    for (const std::size_t chunk : {std::size_t{150}, std::size_t{64}, std::size_t{1}}) {
      const auto ours = TestSequence(*gpu, pool).feed_all(tokens, chunk);
      const Comparison c = compare(tokens, expected, ours, vocab);
      print(c, std::string(GetParam().name) + " chunk " + std::to_string(chunk));
      EXPECT_GE(c.same_argmax, 0.9);
      EXPECT_LE(c.mean_kl, GetParam().model.hidden > 1000 ? 0.05 : 0.01);
    }
  }
  std::remove(path.c_str());
}

constexpr std::uint32_t kDim = 64;
INSTANTIATE_TEST_SUITE_P(
    All, CudaArchitectureTest,
    ::testing::Values(
        Case{"llama", {.head_dim = kDim}},
        Case{"llama_untied_factors", {.head_dim = kDim, .rope_factors = true, .tied = false}},
        Case{"llama_linear_rope", {.heads = 6, .kv_heads = 1, .head_dim = kDim, .rope_linear = 4}},
        Case{"mistral_like", {.heads = 4, .kv_heads = 4, .head_dim = 128, .tied = false}},
        Case{"wide", {.hidden = 4160, .heads = 8, .kv_heads = 1, .head_dim = 128, .ffn = 200}},
        Case{"qwen2", {.architecture = "qwen2", .head_dim = kDim}},
        Case{"qwen3", {.architecture = "qwen3", .head_dim = 128}}),
    [](const auto& param_info) { return std::string(param_info.param.name); });

// The project's bars, on a real model: prompts at once, in pieces, and token by token. Weights
// that bf16 can hold, so that both runners have the same. The share of equal best tokens is that
// of all texts together: in the one of many scripts the model itself is in two minds more often.
TEST(CudaLogitsTest, SmolLm2WithinTheBars) {
  FP_NEEDS_GPU();
  const std::string path = temporary("smollm2-f16.gguf");
  write_f16_copy(smollm2_path(), path, WeightRounding::kBf16);
  const auto tokenizer = must(Tokenizer::load(path));
  const auto cpu = open_runner(path);
  const auto gpu = open_cuda_runner(path);
  const auto vocab = static_cast<std::size_t>(cpu->config().vocab);
  BlockPool cpu_pool(cpu->page_count());
  BlockPool pool(gpu->page_count());
  constexpr std::size_t kChunks[] = {2048, 100, 1};
  double same[std::size(kChunks)] = {};
  double positions = 0;
  for (const char* file : {"prose.txt", "code.txt", "mixed.txt"}) {
    const auto tokens = tokenizer->encode(read_text(file), false);
    const auto expected = TestSequence(*cpu, cpu_pool).feed_all(tokens, 512);
    for (std::size_t i = 0; i < std::size(kChunks); ++i) {
      const auto ours = TestSequence(*gpu, pool).feed_all(tokens, kChunks[i]);
      const Comparison c = compare(tokens, expected, ours, vocab);
      print(c, std::string(file) + " chunk " + std::to_string(kChunks[i]));
      EXPECT_LE(c.mean_kl, 1e-3);
      same[i] += c.same_argmax * static_cast<double>(tokens.size());
    }
    positions += static_cast<double>(tokens.size());
  }
  for (std::size_t i = 0; i < std::size(kChunks); ++i) {
    std::printf("  all, chunk %zu: argmax %.4f\n", kChunks[i], same[i] / positions);
    EXPECT_GE(same[i] / positions, 0.99) << "chunk " << kChunks[i];
  }
}

}  // namespace
}  // namespace fieldprint::test
