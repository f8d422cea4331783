// What a step hands out: mixed steps, taps, masses, anchors and pages against the CPU runner's;
// invariance; CUDA graphs against eager launches.
#include <cstring>

#include "runner/cuda/support.h"
#include "runner/greedy.h"
#include "runner/synthetic.h"

namespace fieldprint::test {
namespace {

// A small model in f32, which both runners can compute closely.
const std::string& small_model() {
  static const std::string path = [] {
    std::string at = temporary("small.gguf");
    SyntheticWriter({.layers = 3, .head_dim = 64}).write(smollm2_path(), at);
    return at;
  }();
  return path;
}

std::vector<TokenId> prose(std::size_t count) {
  auto tokens = must(Tokenizer::load(smollm2_path()))->encode(read_text("prose.txt"), false);
  tokens.resize(count);
  return tokens;
}

std::unique_ptr<Runner> open_small_cpu() {
  CpuRunnerOptions options;
  options.kv_tokens = 16384;
  return open_runner(small_model(), options);
}

// What bf16 leaves of a model with 64 dimensions; a row mixed up with another is off by about 1.
constexpr double kTolerance = 0.08;

void expect_close(const KeptOutput& ours, const KeptOutput& expected, const std::string& what) {
  EXPECT_EQ(ours.logits.size(), expected.logits.size()) << what;
  EXPECT_LE(relative_error(ours.logits, expected.logits), kTolerance) << what;
  EXPECT_LE(relative_error(ours.hidden, expected.hidden), kTolerance) << what;
  EXPECT_LE(relative_error(ours.mass, expected.mass), kTolerance) << what;
  EXPECT_LE(relative_error(ours.tap_final, expected.tap_final), kTolerance) << what;
  EXPECT_LE(relative_error(ours.tap_layer, expected.tap_layer), kTolerance) << what;
}

// Sequences that decode and prefill in every order, with each kind of wish.
std::vector<KeptOutput> mixed_steps(Runner& runner) {
  const auto tokens = prose(400);
  const std::span<const TokenId> all(tokens);
  BlockPool pool(runner.page_count());
  std::vector<std::unique_ptr<TestSequence>> s;
  for (int i = 0; i < 6; ++i) s.push_back(std::make_unique<TestSequence>(runner, pool));
  std::vector<KeptOutput> kept;
  for (std::size_t round = 0; round < 4; ++round) {
    std::vector<SequenceStep> steps{
        s[0]->step(all.subspan(round * 40, 40), LogitsWanted::kLast, KvClass::kSystem),
        s[1]->step(all.subspan(round, 1), LogitsWanted::kLast),
        s[2]->step(all.subspan(round * 7, 7), LogitsWanted::kAll, KvClass::kTool),
        s[3]->step(all.subspan(round, 1), LogitsWanted::kNone),
        s[4]->step(all.subspan(50 + round, 1), LogitsWanted::kAll, KvClass::kMemory),
        s[5]->step(all.subspan(round * 90, 90), LogitsWanted::kNone)};
    const std::int32_t layers = runner.config().layers;
    steps[0].tap = TapWanted::kFinal;
    steps[2].tap = TapWanted::kFinalAndLayer;
    steps[2].tap_layer = 1;
    steps[4].tap = TapWanted::kFinalAndLayer;
    steps[4].tap_layer = layers - 1;
    steps[5].tap = TapWanted::kFinalAndLayer;
    kept.emplace_back(must(runner.forward(steps)));
  }
  return kept;
}

// The best token alone, among sequences that want more or nothing, and when nobody wants more.
std::vector<std::vector<TokenId>> best_steps(Runner& runner) {
  const auto tokens = prose(60);
  const std::span<const TokenId> all(tokens);
  BlockPool pool(runner.page_count());
  std::vector<TestSequence> s;
  for (int i = 0; i < 4; ++i) s.emplace_back(runner, pool);
  std::vector<std::vector<TokenId>> found;
  for (std::size_t round = 0; round < 6; ++round) {
    const auto wanted = round < 2 ? LogitsWanted::kAll : LogitsWanted::kBest;
    std::vector<SequenceStep> steps{
        s[0].step(all.subspan(round * 5, 5), round < 2 ? LogitsWanted::kNone : wanted),
        s[1].step(all.subspan(round, 1), LogitsWanted::kBest),
        s[2].step(all.subspan(round, 3), wanted),
        s[3].step(all.subspan(10 + round, 1), LogitsWanted::kBest)};
    if (round > 2) steps.erase(steps.begin());
    if (round > 2) steps.erase(steps.begin() + 1);  // decode alone: graphs
    const StepOutput out = must(runner.forward(steps));
    EXPECT_EQ(out.logits.empty(), round >= 2);
    const auto vocab = static_cast<std::size_t>(out.vocab_size);
    if (round < 2) {  // rows: s1, three of s2, s3
      EXPECT_EQ(out.logits.size(), 5 * vocab);
      EXPECT_EQ(static_cast<std::size_t>(out.best.front()), argmax(out.logits.first(vocab)));
      EXPECT_EQ(static_cast<std::size_t>(out.best.back()), argmax(out.logits.last(vocab)));
    }
    found.emplace_back(out.best.begin(), out.best.end());
  }
  return found;
}

TEST(CudaStepTest, BestTokensAreThoseOfTheLogits) {
  FP_NEEDS_GPU();
  const auto expected = best_steps(*open_small_cpu());
  const auto ours = best_steps(*open_cuda_runner(small_model()));
  ASSERT_EQ(ours.size(), expected.size());
  std::size_t same = 0;
  std::size_t all = 0;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    ASSERT_EQ(ours[i].size(), expected[i].size());
    for (std::size_t j = 0; j < ours[i].size(); ++j) same += ours[i][j] == expected[i][j] ? 1 : 0;
    all += ours[i].size();
  }
  EXPECT_GE(same + 2, all) << "random weights: an almost equal token may win";
}

TEST(CudaStepTest, MixedStepsAsOnTheCpu) {
  FP_NEEDS_GPU();
  const auto expected = mixed_steps(*open_small_cpu());
  for (const NumericProfile profile : {NumericProfile::kFast, NumericProfile::kInvariant}) {
    CudaRunnerOptions options;
    options.profile = profile;
    const auto ours = mixed_steps(*open_cuda_runner(small_model(), options));
    for (std::size_t i = 0; i < expected.size(); ++i) {
      expect_close(ours[i], expected[i], "round " + std::to_string(i));
    }
  }
}

// Decode steps of growing and shrinking batches, tapped and not: each shape is launched eagerly,
// captured and replayed in turn, padded up to its graph's batch.
std::vector<KeptOutput> decode_steps(Runner& runner) {
  const auto tokens = prose(64);
  BlockPool pool(runner.page_count());
  std::vector<std::unique_ptr<TestSequence>> s;
  for (int i = 0; i < 11; ++i) s.push_back(std::make_unique<TestSequence>(runner, pool));
  std::vector<KeptOutput> kept;
  int turn = 0;
  for (const std::size_t batch : {1, 1, 1, 9, 11, 10, 9, 1, 3, 3, 3, 11}) {
    std::vector<SequenceStep> steps;
    for (std::size_t i = 0; i < batch; ++i) {
      steps.push_back(s[i]->step({&tokens[i + kept.size()], 1}, LogitsWanted::kLast));
      if (turn % 2 == 1 || i % 2 == 0) continue;
      steps.back().tap = TapWanted::kFinalAndLayer;
      steps.back().tap_layer = 1;
    }
    kept.emplace_back(must(runner.forward(steps)));
    turn += batch == 9 ? 1 : 0;
  }
  return kept;
}

TEST(CudaStepTest, DecodeGraphsAsOnTheCpu) {
  FP_NEEDS_GPU();
  const auto expected = decode_steps(*open_small_cpu());
  const auto ours = decode_steps(*open_cuda_runner(small_model()));
  for (std::size_t i = 0; i < expected.size(); ++i) {
    expect_close(ours[i], expected[i], "step " + std::to_string(i));
  }
}

TEST(CudaStepTest, AGraphReplaysWhatWasLaunchedEagerly) {
  FP_NEEDS_GPU();
  const auto runner = open_cuda_runner(small_model());
  const auto tokens = prose(40);
  const std::span<const TokenId> all(tokens);
  BlockPool pool(runner->page_count());
  std::vector<KeptOutput> kept;
  for (int i = 0; i < 4; ++i) {  // eager, captured, replayed, replayed
    TestSequence sequence(*runner, pool);
    const SequenceStep prompt = sequence.step(all.first(39), LogitsWanted::kNone);
    (void)must(runner->forward({&prompt, 1}));
    const SequenceStep step = sequence.step(all.last(1), LogitsWanted::kLast);
    kept.emplace_back(must(runner->forward({&step, 1})));
    EXPECT_EQ(kept.back().logits, kept.front().logits) << "run " << i;
    EXPECT_EQ(kept.back().mass, kept.front().mass) << "run " << i;
  }
}

// Sequences behind an anchor in each mode, and one without, in one step.
std::vector<KeptOutput> anchored_steps(Runner& runner, Runner& compiler) {
  const auto tokens = prose(120);
  const std::span<const TokenId> all(tokens);
  BlockPool compiler_pool(compiler.page_count());
  TestSequence identity(compiler, compiler_pool);
  (void)identity.feed_all(all.first(50), 50);
  const ModelConfig& config = runner.config();
  BlockPool pool(runner.page_count());
  BlockTable anchor(pool);
  EXPECT_TRUE(anchor.commit(KvClass::kAnchor, 50));
  for (int layer = 0; layer < config.layers; ++layer) {
    for (std::size_t i = 0; i < anchor.page_entries().size(); ++i) {
      const PageEntry& to = anchor.page_entries()[i];
      const PageId from = identity.table().page_entries()[i].page;
      const PageRows rows = must(compiler.read_page(layer, from, to.rows));
      EXPECT_TRUE(runner.write_page(layer, to.page, to.rows, rows));
    }
  }
  const std::int32_t stride = static_cast<std::int32_t>(anchor.page_entries().size()) * kPageRows;
  std::vector<float> beta(static_cast<std::size_t>(config.layers * config.kv_heads * stride));
  for (std::size_t i = 0; i < beta.size(); ++i) beta[i] = 0.1F * static_cast<float>(i % 13);
  std::vector<float> gamma(static_cast<std::size_t>(config.layers * config.heads));
  for (std::size_t i = 0; i < gamma.size(); ++i) gamma[i] = 0.1F * static_cast<float>(i % 7);
  AnchorView joint;
  joint.pages = anchor.page_entries();
  joint.leaves = anchor.leaves();
  AnchorView gated = joint;
  gated.mode = AnchorMode::kGated;
  gated.gamma = gamma.data();
  AnchorView floored = joint;
  floored.mode = AnchorMode::kFloored;
  floored.psi = 0.6F;
  floored.beta = beta.data();
  floored.beta_stride = stride;
  std::vector<TestSequence> s;
  for (int i = 0; i < 4; ++i) s.emplace_back(runner, pool);
  for (int i = 0; i < 3; ++i) s[static_cast<std::size_t>(i)].table().skip_to(50);
  std::vector<KeptOutput> kept;
  std::size_t at = 50;
  for (const std::size_t count : {20, 1, 1, 1, 5, 1}) {
    if (at > 72) beta[3] += 1.0F;  // same memory, another bias: must be noticed
    std::vector<SequenceStep> steps;
    for (TestSequence& one : s)
      steps.push_back(one.step(all.subspan(at, count), LogitsWanted::kLast));
    steps[0].plan.anchor = joint;
    steps[1].plan.anchor = gated;
    steps[2].plan.anchor = floored;
    kept.emplace_back(must(runner.forward(steps)));
    at += count;
  }
  return kept;
}

TEST(CudaStepTest, AnchorsAsOnTheCpu) {
  FP_NEEDS_GPU();
  const auto cpu = open_small_cpu();
  const auto other_cpu = open_small_cpu();
  const auto gpu = open_cuda_runner(small_model());
  const auto expected = anchored_steps(*other_cpu, *cpu);
  const auto ours = anchored_steps(*gpu, *cpu);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    expect_close(ours[i], expected[i], "step " + std::to_string(i));
    const auto anchor = static_cast<std::size_t>(KvClass::kAnchor);
    EXPECT_GT(ours[i].mass[anchor], 0.05F);
    EXPECT_EQ(ours[i].mass[3 * kKvClasses + anchor], 0.0F);
  }
}

TEST(CudaStepTest, PagesComeBackAsTheyWereWritten) {
  FP_NEEDS_GPU();
  const auto runner = open_cuda_runner(small_model());
  const ModelConfig& config = runner->config();
  const auto size = [&](int rows) {
    return static_cast<std::size_t>(config.kv_heads * rows * config.head_dim);
  };
  PageRows data;
  for (std::size_t i = 0; i < size(11); ++i) {
    data.k.push_back(static_cast<std::uint16_t>(i));
    data.v.push_back(static_cast<std::uint16_t>(7 * i));
  }
  ASSERT_TRUE(runner->write_page(2, 5, 11, data));
  ASSERT_TRUE(runner->copy_page(5, 9));
  const PageRows back = must(runner->read_page(2, 9, 11));
  EXPECT_EQ(back.k, data.k);
  EXPECT_EQ(back.v, data.v);
  EXPECT_EQ(runner->write_page(3, 5, 11, data).error().code, "page_out_of_range");
  EXPECT_EQ(runner->write_page(2, 5, 10, data).error().code, "page_size_mismatch");
  EXPECT_EQ(runner->read_page(0, runner->page_count(), 1).error().code, "page_out_of_range");
}

TEST(CudaStepTest, RefusesBadTokensAndLayersAndGoesOn) {
  FP_NEEDS_GPU();
  const auto runner = open_cuda_runner(small_model());
  BlockPool pool(runner->page_count());
  TestSequence sequence(*runner, pool);
  const TokenId bad = runner->config().vocab;
  SequenceStep step = sequence.step({&bad, 1}, LogitsWanted::kLast);
  EXPECT_EQ(runner->forward({&step, 1}).error().code, "invalid_token");
  const TokenId good = 1;
  step = sequence.step({&good, 1}, LogitsWanted::kLast);
  step.tap = TapWanted::kFinalAndLayer;
  step.tap_layer = 3;
  EXPECT_EQ(runner->forward({&step, 1}).error().code, "tap_layer_out_of_range");
  step.tap_layer = 2;
  EXPECT_TRUE(runner->forward({&step, 1}));
}

// 64 tokens, alone and among 64, prompts cut differently: the same tokens and the same bits.
TEST(CudaInvariantTest, SameBitsAloneAndAmongSixtyFour) {
  FP_NEEDS_GPU();
  CudaRunnerOptions options;
  options.profile = NumericProfile::kInvariant;
  options.kv_tokens = 1 << 17;
  const auto runner = open_cuda_runner(smollm2_path(), options);
  const auto prompt = prose(100);
  const GreedyRun alone = greedy(*runner, prompt, 0, 512);
  for (const auto& [mates, chunk] : {std::pair{63, std::size_t{512}}, std::pair{3, std::size_t{7}},
                                     std::pair{15, std::size_t{99}}}) {
    const GreedyRun among = greedy(*runner, prompt, mates, chunk);
    EXPECT_EQ(among.tokens, alone.tokens) << mates << " others, chunks of " << chunk;
    EXPECT_EQ(
        std::memcmp(among.logits.data(), alone.logits.data(), alone.logits.size() * sizeof(float)),
        0)
        << mates << " others, chunks of " << chunk;
  }
}

}  // namespace
}  // namespace fieldprint::test
