// Our logits against libllama's on the same file (libllama is linked here only).
#include "runner/dequantize.h"
#include "runner/llama_reference.h"
#include "runner/support.h"

namespace fieldprint::test {
namespace {

struct Case {
  const char* name;
  std::string (*path)();
  std::string f16_path() const {
    const std::string copy = std::string(FP_BINARY_DIR "/") + name + "-f16.gguf";
    write_f16_copy(path(), copy);
    return copy;
  }
};

class LogitsTest : public ::testing::TestWithParam<Case> {};

std::vector<TokenId> tokens_of(const Tokenizer& tokenizer, const char* file) {
  std::vector<TokenId> tokens;
  if (tokenizer.adds_bos()) tokens.push_back(tokenizer.bos());
  const auto body = tokenizer.encode(read_text(file), false);
  tokens.insert(tokens.end(), body.begin(), body.end());
  EXPECT_GE(tokens.size(), 600U) << file;
  return tokens;
}

void print(const Comparison& c, const std::string& what) {
  std::printf("  %-24s argmax %.4f  KL %.2e  perplexity %.3f, reference %.3f\n", what.c_str(),
              c.same_argmax, c.mean_kl, c.perplexity, c.perplexity_reference);
}

// The project's bars, for prefill and for token-by-token decode.
void expect_close(const Comparison& c, const std::string& what) {
  print(c, what);
  EXPECT_GE(c.same_argmax, 0.99) << what;
  EXPECT_LE(c.mean_kl, 1e-3) << what;
  EXPECT_NEAR(c.perplexity / c.perplexity_reference, 1.0, 0.005) << what;
}

TEST_P(LogitsTest, MatchLibllama) {
  const std::string path = GetParam().f16_path();
  const auto tokenizer = must(Tokenizer::load(path));
  const LlamaReference reference(path);
  const auto runner = open_runner(path);
  const auto vocab = static_cast<std::size_t>(runner->config().vocab);
  BlockPool pool(runner->page_count());
  for (const char* file : {"prose.txt", "code.txt", "mixed.txt"}) {
    const auto tokens = tokens_of(*tokenizer, file);
    const auto expected = reference.logits(tokens, FlashAttention::kOn);
    const auto prefill = TestSequence(*runner, pool).feed_all(tokens, 512);
    expect_close(compare(tokens, expected, prefill, vocab), std::string(file) + " prefill");
    // Token by token through f16 weights takes minutes: one text each time, all of them
    // with FIELDPRINT_FULL_TESTS=1.
    if (std::string(file) != "prose.txt" && std::getenv("FIELDPRINT_FULL_TESTS") == nullptr) {
      std::printf("  %s decode: only with FIELDPRINT_FULL_TESTS=1\n", file);
      continue;
    }
    const auto decode = TestSequence(*runner, pool).feed_all(tokens, 1);
    expect_close(compare(tokens, expected, decode, vocab), std::string(file) + " decode");
  }
}

// On quantised weights, where activations are rounded to 8 bits, libllama with and
// without flash attention differs from itself by more than the bars above. We must
// not be further from it than that by more than half.
TEST_P(LogitsTest, QuantisedNoFurtherThanLibllamaFromItself) {
  const std::string path = GetParam().path();
  const auto tokenizer = must(Tokenizer::load(path));
  const auto tokens = tokens_of(*tokenizer, "prose.txt");
  const LlamaReference reference(path);
  const auto expected = reference.logits(tokens, FlashAttention::kOn);
  const auto runner = open_runner(path);
  const auto vocab = static_cast<std::size_t>(runner->config().vocab);
  const auto floor =
      compare(tokens, expected, reference.logits(tokens, FlashAttention::kOff), vocab);
  print(floor, "libllama's own spread");
  BlockPool pool(runner->page_count());
  const auto ours =
      compare(tokens, expected, TestSequence(*runner, pool).feed_all(tokens, 512), vocab);
  print(ours, "ours");
  EXPECT_LE(ours.mean_kl, 1.5 * floor.mean_kl);
  EXPECT_GE(ours.same_argmax, 1.0 - 1.5 * (1.0 - floor.same_argmax));
  EXPECT_NEAR(ours.perplexity / ours.perplexity_reference, 1.0, 0.01);
}

INSTANTIATE_TEST_SUITE_P(Models, LogitsTest,
                         ::testing::Values(Case{"smollm2", smollm2_path},
                                           Case{"gemma3", gemma3_path}),
                         [](const auto& param_info) { return param_info.param.name; });

}  // namespace
}  // namespace fieldprint::test
