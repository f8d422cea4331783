// Named errors, on machines of every kind.
#include "gtest/gtest.h"
#include "runner/cuda/cuda_runner.h"
#include "runner/support.h"
#ifdef FIELDPRINT_HAS_CUDA
#include "runner/cuda/decoder.h"
#include "runner/cuda/support.h"
#endif

namespace fieldprint::test {
namespace {

std::string code_of_opening(const std::string& path) {
  const auto runner = make_cuda_runner(must(load_model(path)), {});
  return runner ? "none" : runner.error().code;
}

#ifdef FIELDPRINT_HAS_CUDA

TEST(CudaRefusalTest, SaysThatThereIsNoDevice) {
  if (missing_gpu().empty()) GTEST_SKIP() << "this machine has a device";
  EXPECT_EQ(code_of_opening(smollm2_path()), "cuda_no_device");
  EXPECT_EQ(cuda_kv_memory(*must(load_model(smollm2_path())), 512).error().code, "cuda_no_device");
}

TEST(CudaRefusalTest, NamesWhatTheKernelsLack) {
  ModelConfig config;
  config.architecture = "gemma3";
  config.layers = 18;
  config.hidden = 640;
  config.heads = 4;
  config.kv_heads = 1;
  config.head_dim = 128;
  config.ffn = 2048;
  config.rope_dims = 128;
  EXPECT_TRUE(cuda::Decoder::check_model(config));
  const auto refused = [&](const auto& change, const char* word) {
    ModelConfig changed = config;
    change(changed);
    const Status status = cuda::Decoder::check_model(changed);
    return !status && status.error().code == "model_unsupported" &&
           status.error().message.find(word) != std::string::npos;
  };
  EXPECT_TRUE(refused([](ModelConfig& c) { c.head_dim = 96; }, "heads of 96"));
  EXPECT_TRUE(refused([](ModelConfig& c) { c.heads = 9; }, "query heads"));
  EXPECT_TRUE(refused([](ModelConfig& c) { c.window = 512; }, "sliding"));
  EXPECT_TRUE(refused([](ModelConfig& c) { c.rope_dims = 24; }, "rotary"));
  EXPECT_TRUE(refused([](ModelConfig& c) { c.ffn = 2052; }, "FFN"));
  EXPECT_TRUE(refused([](ModelConfig& c) { c.hidden = 16400; }, "hidden"));
  EXPECT_TRUE(refused([](ModelConfig& c) { c.layers = 129; }, "layers"));
}

TEST(CudaRefusalTest, APoolLargerThanTheGpuIsNamed) {
  FP_NEEDS_GPU();
  CudaRunnerOptions options;
  options.kv_tokens = std::int64_t{1} << 26;
  const auto runner = make_cuda_runner(must(load_model(smollm2_path())), options);
  ASSERT_FALSE(runner);
  EXPECT_EQ(runner.error().code, "cuda_out_of_memory");
  EXPECT_EQ(code_of_opening(smollm2_path()), "none") << "and the next one opens";
}

#else

TEST(CudaRefusalTest, SaysThatItWasBuiltWithoutCuda) {
  EXPECT_EQ(code_of_opening(smollm2_path()), "cuda_not_built");
  EXPECT_EQ(cuda_kv_memory(*must(load_model(smollm2_path())), 512).error().code, "cuda_not_built");
}

#endif

}  // namespace
}  // namespace fieldprint::test
