// Hidden states handed out by a step: which rows, which layer, and whose bits.
#include <cstring>

#include "runner/support.h"

namespace fieldprint::test {
namespace {

struct Tapped {
  std::vector<float> final;
  std::vector<float> layer;
};

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

std::vector<TokenId> prose(const std::string& model, std::size_t count) {
  auto tokens = must(Tokenizer::load(model))->encode(read_text("prose.txt"), false);
  tokens.resize(count);
  return tokens;
}

CpuRunnerOptions options_for(NumericProfile profile, int threads) {
  CpuRunnerOptions options;
  options.profile = profile;
  options.threads = threads;
  options.kv_tokens = 16384;
  return options;
}

// feed_all() computes logits of every token; a prompt needs none.
void prefill(Runner& runner, TestSequence& sequence, std::span<const TokenId> tokens) {
  const SequenceStep step = sequence.step(tokens, LogitsWanted::kNone);
  (void)must(runner.forward({&step, 1}));
}

// `tokens` prefilled but for the last `decoded`, which come one by one among `mates` others.
Tapped decode_tapped(Runner& runner, std::span<const TokenId> tokens, std::size_t decoded,
                     int mates, std::int32_t layer) {
  BlockPool pool(runner.page_count());
  std::vector<std::unique_ptr<TestSequence>> others;
  for (int i = 0; i < mates; ++i) {
    others.push_back(std::make_unique<TestSequence>(runner, pool));
    prefill(runner, *others.back(), tokens.first(static_cast<std::size_t>(3 + 2 * i)));
  }
  TestSequence subject(runner, pool);
  prefill(runner, subject, tokens.first(tokens.size() - decoded));
  Tapped all;
  for (std::size_t i = tokens.size() - decoded; i < tokens.size(); ++i) {
    const TokenId filler = tokens[tokens.size() - 1 - i];
    std::vector<SequenceStep> steps;
    for (auto& other : others) {
      steps.push_back(other->step({&filler, 1}, LogitsWanted::kLast));
      // Half of the others tap too, another layer: rows must not be mixed up.
      if (steps.size() % 2 == 0) continue;
      steps.back().tap = TapWanted::kFinalAndLayer;
      steps.back().tap_layer = 2;
    }
    const auto place = static_cast<std::ptrdiff_t>(steps.size() / 2);
    auto mine = subject.step(tokens.subspan(i, 1), LogitsWanted::kLast);
    mine.tap = TapWanted::kFinalAndLayer;
    mine.tap_layer = layer;
    const auto at = steps.insert(steps.begin() + place, mine);
    const auto before = static_cast<std::size_t>(std::count_if(
        steps.begin(), at, [](const SequenceStep& s) { return s.tap != TapWanted::kNone; }));
    const StepOutput out = must(runner.forward(steps));
    const auto hidden = static_cast<std::size_t>(out.hidden_size);
    const auto final = out.tap_final.subspan(before * hidden, hidden);
    const auto middle = out.tap_layer.subspan(before * hidden, hidden);
    all.final.insert(all.final.end(), final.begin(), final.end());
    all.layer.insert(all.layer.end(), middle.begin(), middle.end());
  }
  return all;
}

TEST(TapTest, InvariantStatesAreTheSameAloneAndAmongSixteen) {
  const auto tokens = prose(smollm2_path(), 40);
  const auto runner = open_runner(smollm2_path(), options_for(NumericProfile::kInvariant, 2));
  const Tapped alone = decode_tapped(*runner, tokens, 4, 0, 9);
  EXPECT_EQ(alone.final.size(), 4 * static_cast<std::size_t>(runner->config().hidden));
  const Tapped among = decode_tapped(*runner, tokens, 4, 15, 9);
  EXPECT_TRUE(same_bits(alone.final, among.final));
  EXPECT_TRUE(same_bits(alone.layer, among.layer));
  const auto single = open_runner(smollm2_path(), options_for(NumericProfile::kInvariant, 1));
  const Tapped one_thread = decode_tapped(*single, tokens, 4, 2, 9);
  EXPECT_TRUE(same_bits(alone.final, one_thread.final));
  EXPECT_TRUE(same_bits(alone.layer, one_thread.layer));
}

// Rows of three sequences in one step, of which two ask; the final tap is what the output head
// reads, and the last layer's tap, normed by hand, is the final tap.
TEST(TapTest, HandsOutTheRowsThatWereAskedFor) {
  const auto model = must(load_model(smollm2_path()));
  const auto runner = must(make_cpu_runner(model, options_for(NumericProfile::kFast, 2)));
  const auto tokens = prose(smollm2_path(), 24);
  const auto hidden = static_cast<std::size_t>(runner->config().hidden);
  BlockPool pool(runner->page_count());
  TestSequence a(*runner, pool);
  TestSequence b(*runner, pool);
  TestSequence c(*runner, pool);
  const std::span<const TokenId> all(tokens);
  std::vector<SequenceStep> steps{a.step(all.first(10), LogitsWanted::kAll),
                                  b.step(all.first(7), LogitsWanted::kLast),
                                  c.step(all.first(24), LogitsWanted::kLast)};
  steps[0].tap = TapWanted::kFinal;
  steps[2].tap = TapWanted::kFinalAndLayer;
  steps[2].tap_layer = runner->config().layers - 1;
  const StepOutput out = must(runner->forward(steps));
  ASSERT_EQ(out.tap_final.size(), 11 * hidden);
  ASSERT_EQ(out.tap_layer.size(), hidden);
  EXPECT_TRUE(same_bits(out.tap_final.first(10 * hidden), out.hidden.first(10 * hidden)));
  EXPECT_TRUE(same_bits(out.tap_final.last(hidden), out.hidden.last(hidden)));

  double squares = 0;
  for (const float x : out.tap_layer) squares += double{x} * double{x};
  const double scale =
      1.0 / std::sqrt(squares / static_cast<double>(hidden) + runner->config().norm_eps);
  double ratio_low = 1e30;
  double ratio_high = 0;
  // final = residual * scale * weight: the weight is the same for both of two tokens.
  const std::vector<float> first_final(out.tap_final.end() - static_cast<std::ptrdiff_t>(hidden),
                                       out.tap_final.end());
  const std::vector<float> first_layer(out.tap_layer.begin(), out.tap_layer.end());
  TestSequence d(*runner, pool);
  SequenceStep again = d.step(all.first(5), LogitsWanted::kLast);
  again.tap = TapWanted::kFinalAndLayer;
  again.tap_layer = runner->config().layers - 1;
  const StepOutput second = must(runner->forward({&again, 1}));
  double second_squares = 0;
  for (const float x : second.tap_layer) second_squares += double{x} * double{x};
  const double second_scale =
      1.0 / std::sqrt(second_squares / static_cast<double>(hidden) + runner->config().norm_eps);
  for (std::size_t i = 0; i < hidden; ++i) {
    const double weight = first_final[i] / (first_layer[i] * scale);
    const double weight_again = second.tap_final[i] / (second.tap_layer[i] * second_scale);
    ratio_low = std::min(ratio_low, weight / weight_again);
    ratio_high = std::max(ratio_high, weight / weight_again);
  }
  EXPECT_NEAR(ratio_low, 1.0, 1e-4);
  EXPECT_NEAR(ratio_high, 1.0, 1e-4);
}

TEST(TapTest, NobodyAskedNothingHandedOut) {
  const auto runner = open_runner(smollm2_path());
  const auto tokens = prose(smollm2_path(), 6);
  BlockPool pool(runner->page_count());
  TestSequence sequence(*runner, pool);
  const std::span<const TokenId> all(tokens);
  SequenceStep step = sequence.step(all.first(3), LogitsWanted::kLast);
  StepOutput out = must(runner->forward({&step, 1}));
  EXPECT_TRUE(out.tap_final.empty());
  EXPECT_TRUE(out.tap_layer.empty());
  step = sequence.step(all.last(3), LogitsWanted::kNone);  // no output row, so no state either
  step.tap = TapWanted::kFinalAndLayer;
  out = must(runner->forward({&step, 1}));
  EXPECT_TRUE(out.tap_final.empty());
  EXPECT_TRUE(out.tap_layer.empty());
}

TEST(TapTest, RefusesALayerThatIsNotThere) {
  const auto runner = open_runner(smollm2_path());
  const auto tokens = prose(smollm2_path(), 3);
  BlockPool pool(runner->page_count());
  for (const std::int32_t layer : {-1, runner->config().layers}) {
    TestSequence sequence(*runner, pool);
    SequenceStep step = sequence.step(tokens, LogitsWanted::kLast);
    step.tap = TapWanted::kFinalAndLayer;
    step.tap_layer = layer;
    const auto out = runner->forward({&step, 1});
    ASSERT_FALSE(out);
    EXPECT_EQ(out.error().code, "tap_layer_out_of_range");
  }
}

}  // namespace
}  // namespace fieldprint::test
