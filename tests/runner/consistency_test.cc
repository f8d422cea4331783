// The runner against itself: prefill and decode agree; in the invariant profile a
// sequence's bits do not depend on who shares the batch.
#include <cstring>

#include "runner/greedy.h"
#include "runner/support.h"

namespace fieldprint::test {
namespace {

std::vector<TokenId> prose(const std::string& model, std::size_t count) {
  auto tokens = must(Tokenizer::load(model))->encode(read_text("prose.txt"), false);
  tokens.resize(count);
  return tokens;
}

TEST(ConsistencyTest, PrefillAgreesWithDecodeInFast) {
  const auto tokens = prose(smollm2_path(), 560);
  const auto runner = open_runner(smollm2_path());
  const auto vocab = static_cast<std::size_t>(runner->config().vocab);
  BlockPool pool(runner->page_count());
  const auto whole = TestSequence(*runner, pool).feed_all(tokens, 512);
  for (const std::size_t chunk : {std::size_t{1}, std::size_t{37}}) {
    const auto parts = TestSequence(*runner, pool).feed_all(tokens, chunk);
    const Comparison c = compare(tokens, whole, parts, vocab);
    EXPECT_LE(c.mean_kl, 1e-4) << "chunk " << chunk;
    EXPECT_EQ(c.same_argmax, 1.0) << "chunk " << chunk;
  }
}

CpuRunnerOptions invariant_options(int threads) {
  CpuRunnerOptions options;
  options.profile = NumericProfile::kInvariant;
  options.threads = threads;
  options.kv_tokens = 16384;
  return options;
}

void expect_same_bits(const GreedyRun& a, const GreedyRun& b, const char* what) {
  EXPECT_EQ(a.tokens, b.tokens) << what;
  EXPECT_EQ(std::memcmp(a.logits.data(), b.logits.data(), a.logits.size() * sizeof(float)), 0)
      << what;
}

class InvariantTest : public ::testing::TestWithParam<std::string (*)()> {};

TEST_P(InvariantTest, SameBitsAloneAndAmongSixteen) {
  const auto prompt = prose(GetParam()(), 100);
  const auto runner = open_runner(GetParam()(), invariant_options(2));
  const GreedyRun alone = greedy(*runner, prompt, 0, 512);
  expect_same_bits(alone, greedy(*runner, prompt, 15, 512), "15 others in the batch");
  expect_same_bits(alone, greedy(*runner, prompt, 3, 7), "3 others, prompt in chunks of 7");
  const auto single = open_runner(GetParam()(), invariant_options(1));
  expect_same_bits(alone, greedy(*single, prompt, 0, 33), "one thread");
}

INSTANTIATE_TEST_SUITE_P(Models, InvariantTest, ::testing::Values(smollm2_path, gemma3_path),
                         [](const auto& param_info) {
                           return param_info.index == 0 ? std::string("smollm2")
                                                        : std::string("gemma3");
                         });

TEST(BestTest, TheLikeliestTokenWithoutItsLogits) {
  const auto runner = open_runner(smollm2_path());
  const auto tokens = prose(smollm2_path(), 12);
  BlockPool pool(runner->page_count());
  TestSequence a(*runner, pool);
  TestSequence b(*runner, pool);
  TestSequence c(*runner, pool);
  const std::span<const TokenId> all(tokens);
  const auto vocab = static_cast<std::size_t>(runner->config().vocab);
  const std::vector<SequenceStep> mixed{a.step(all.first(5), LogitsWanted::kBest),
                                        b.step(all.first(3), LogitsWanted::kNone),
                                        c.step(all.first(5), LogitsWanted::kLast)};
  StepOutput out = must(runner->forward(mixed));
  ASSERT_EQ(out.best.size(), 1U);
  ASSERT_EQ(out.logits.size(), 2 * vocab);
  EXPECT_EQ(static_cast<std::size_t>(out.best[0]), argmax(out.logits.last(vocab)));
  const std::vector<SequenceStep> alone{a.step(all.subspan(5, 2), LogitsWanted::kBest),
                                        b.step(all.subspan(3, 1), LogitsWanted::kBest)};
  out = must(runner->forward(alone));
  EXPECT_EQ(out.best.size(), 2U);
  EXPECT_TRUE(out.logits.empty());
}

// KV memory is pages and nothing else: 8k tokens take their bf16 size + 3 % at most.
TEST(MemoryTest, KvOfEightThousandTokens) {
  CpuRunnerOptions options;
  options.kv_tokens = 8192;
  const auto runner = open_runner(smollm2_path(), options);
  const ModelConfig& config = runner->config();
  const double wanted = 8192.0 * config.layers * config.kv_heads * config.head_dim * 2 * 2;
  const KvShape shape{config.kv_heads, config.head_dim, KvDtype::kBf16};
  const double taken = static_cast<double>(kv_page_bytes(shape)) * config.layers *
                       static_cast<double>(runner->page_count());
  EXPECT_LE(taken, wanted * 1.03);
  EXPECT_GE(taken, wanted);
}

}  // namespace
}  // namespace fieldprint::test
