// Every supported architecture against libllama, on small random f32 models; and
// named errors for models that cannot be run.
#include <fstream>

#include "runner/llama_reference.h"
#include "runner/support.h"
#include "runner/synthetic.h"

namespace fieldprint::test {
namespace {

std::string temporary(const std::string& name) { return ::testing::TempDir() + "fp_" + name; }

struct Case {
  const char* name;
  SyntheticModel model;
};

class ArchitectureTest : public ::testing::TestWithParam<Case> {};

TEST_P(ArchitectureTest, MatchesLibllama) {
  const std::string path = temporary(std::string(GetParam().name) + ".gguf");
  SyntheticWriter(GetParam().model).write(smollm2_path(), path);
  const auto tokenizer = must(Tokenizer::load(path));
  auto tokens = tokenizer->encode(read_text("prose.txt"), false);
  tokens.resize(150);
  const LlamaReference reference(path);
  const auto expected = reference.logits(tokens, FlashAttention::kOff, LlamaKv::kF32);
  CpuRunnerOptions options;
  options.threads = 1;
  options.kv_dtype = KvDtype::kF32;
  const auto runner = open_runner(path, options);
  const auto vocab = static_cast<std::size_t>(runner->config().vocab);
  BlockPool pool(runner->page_count());
  for (const std::size_t chunk : {std::size_t{64}, std::size_t{1}}) {
    const auto ours = TestSequence(*runner, pool).feed_all(tokens, chunk);
    const Comparison c = compare(tokens, expected, ours, vocab);
    EXPECT_GE(c.same_argmax, 0.99) << "chunk " << chunk;
    EXPECT_LE(c.mean_kl, 1e-5) << "chunk " << chunk;
  }
  std::remove(path.c_str());
}

INSTANTIATE_TEST_SUITE_P(
    All, ArchitectureTest,
    ::testing::Values(
        Case{"llama", {}}, Case{"llama_untied_factors", {.rope_factors = true, .tied = false}},
        Case{"llama_linear_rope", {.heads = 6, .kv_heads = 1, .rope_linear = 4}},
        Case{"mistral_like", {.heads = 4, .kv_heads = 4, .head_dim = 32, .tied = false}},
        Case{"qwen2", {.architecture = "qwen2"}},
        Case{"qwen3", {.architecture = "qwen3", .head_dim = 32}},
        Case{"gemma3", {.architecture = "gemma3", .layers = 7, .window = 24, .rope_linear = 8}}),
    [](const auto& param_info) { return std::string(param_info.param.name); });

// The code that load_model gives for a file with these bytes.
std::string load_error(const std::string& path) {
  const auto model = load_model(path);
  return model ? "none" : model.error().code;
}

std::vector<char> synthetic_bytes(const SyntheticModel& model) {
  const std::string path = temporary("bytes.gguf");
  SyntheticWriter(model).write(smollm2_path(), path);
  std::ifstream in(path, std::ios::binary);
  std::vector<char> bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  std::remove(path.c_str());
  return bytes;
}

std::string write_bytes(std::span<const char> bytes) {
  const std::string path = temporary("broken.gguf");
  std::ofstream(path, std::ios::binary)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return path;
}

TEST(BadModelTest, EveryFaultHasItsName) {
  EXPECT_EQ(load_error("/nonexistent/model.gguf"), "model_missing");
  EXPECT_EQ(load_error("/"), "model_missing");
  const std::string text = "this is not a model at all, only some text";
  EXPECT_EQ(load_error(write_bytes(text)), "gguf_bad_magic");
  EXPECT_EQ(load_error(write_bytes(std::string())), "gguf_bad_magic");

  auto bytes = synthetic_bytes({});
  bytes[4] = 99;
  EXPECT_EQ(load_error(write_bytes(bytes)), "gguf_version");

  const std::string path = temporary("fault.gguf");
  SyntheticWriter({.architecture = "mamba"}).write(smollm2_path(), path);
  EXPECT_EQ(load_error(path), "model_unsupported");
  SyntheticWriter({.leave_out = "blk.1.ffn_down.weight"}).write(smollm2_path(), path);
  EXPECT_EQ(load_error(path), "model_tensor_missing");
  SyntheticWriter({.leave_out = "token_embd.weight"}).write(smollm2_path(), path);
  EXPECT_EQ(load_error(path), "model_tensor_missing");
  SyntheticWriter({.heads = 5, .kv_heads = 2}).write(smollm2_path(), path);
  EXPECT_EQ(load_error(path), "model_unsupported");
  std::remove(path.c_str());
}

// Cut anywhere, a model is refused by name; never a crash, never half a model.
TEST(BadModelTest, TruncationIsNamedWhereverTheCutIs) {
  const auto bytes = synthetic_bytes({});
  for (std::size_t i = 1; i <= 30; ++i) {
    const std::size_t cut = bytes.size() * i / 31;
    const auto error = load_error(write_bytes(std::span(bytes).first(cut)));
    EXPECT_TRUE(error == "gguf_truncated" || error == "gguf_corrupt") << cut << ": " << error;
  }
  for (const std::size_t cut : {std::size_t{4}, std::size_t{8}, std::size_t{23}, std::size_t{24},
                                std::size_t{100}, bytes.size() - 1}) {
    EXPECT_EQ(load_error(write_bytes(std::span(bytes).first(cut))), "gguf_truncated") << cut;
  }
}

// Flipped header and metadata bytes load or are refused; they never crash.
TEST(BadModelTest, FlippedMetadataNeverCrashes) {
  const auto original = synthetic_bytes({});
  auto bytes = original;
  std::mt19937 random(7);
  for (int i = 0; i < 40; ++i) {
    const std::size_t at = i < 24 ? static_cast<std::size_t>(i) : random() % 1500;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << (random() % 8)));
    const std::string path = write_bytes(bytes);
    (void)load_error(path);
    bytes[at] = original[at];
  }
}

}  // namespace
}  // namespace fieldprint::test
