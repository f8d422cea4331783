// Fingerprints and coherence on a real model: how far honest configurations lie from each other,
// and how far everything else does. docs/supervisor.md quotes figures measured this way.
#include <cmath>

#include "runner/requantize.h"
#include "runner/support.h"
#include "supervisor/chain.h"
#include "supervisor/coherence_fit.h"
#include "supervisor/verify.h"

namespace fieldprint::test {
namespace {

using Tokens = std::span<const TokenId>;

constexpr std::size_t kPrompt = 24;
constexpr std::size_t kAnswer = 16;
constexpr std::size_t kStride = 40;  // between the beginnings of two texts

// How the same states can come about.
enum class Way { kPrefill, kDecode, kChunks, kBatch };

class States {
 public:
  States(const std::string& path, NumericProfile profile, KvDtype kv) {
    CpuRunnerOptions options;
    options.profile = profile;
    options.kv_dtype = kv;
    runner_ = open_runner(path, options);
  }
  Runner& runner() { return *runner_; }

  // The states from which the answer's tokens would be sampled, [kAnswer, hidden].
  std::vector<float> of(Tokens prompt, Tokens answer, Way way) {
    BlockPool pool(runner_->page_count());
    TestSequence subject(*runner_, pool);
    std::vector<std::unique_ptr<TestSequence>> mates;
    for (int i = 0; way == Way::kBatch && i < 3; ++i) {
      mates.push_back(std::make_unique<TestSequence>(*runner_, pool));
    }
    const SequenceStep head = subject.step(prompt.first(prompt.size() - 1), LogitsWanted::kNone);
    (void)must(runner_->forward({&head, 1}));
    std::vector<TokenId> tokens{prompt.back()};
    tokens.insert(tokens.end(), answer.begin(), answer.end() - 1);
    std::size_t chunk = tokens.size();
    if (way == Way::kChunks) chunk = 7;
    if (way == Way::kDecode || way == Way::kBatch) chunk = 1;
    std::vector<float> out;
    for (std::size_t at = 0; at < tokens.size(); at += chunk) {
      const Tokens part = Tokens(tokens).subspan(at, std::min(chunk, tokens.size() - at));
      std::vector<SequenceStep> steps;
      steps.reserve(mates.size() + 1);
      for (auto& mate : mates) steps.push_back(mate->step(part.first(1), LogitsWanted::kNone));
      steps.push_back(subject.step(part, LogitsWanted::kAll));
      steps.back().tap = TapWanted::kFinal;
      const StepOutput output = must(runner_->forward(steps));
      out.insert(out.end(), output.tap_final.begin(), output.tap_final.end());
    }
    return out;
  }

 private:
  std::unique_ptr<Runner> runner_;
};

class RealStatesTest : public ::testing::Test {
 protected:
  Tokens text(std::size_t from, std::size_t count) const {
    return Tokens(text_).subspan(from, count);
  }
  Tokens prompt(std::size_t run) const { return text(run * kStride, kPrompt); }
  Tokens answer(std::size_t run) const { return text(run * kStride + kPrompt, kAnswer); }

  ChainBinding binding(const Fingerprinter& fingerprinter, std::string profile) const {
    ChainBinding b;
    b.response_id = "resp_real";
    b.recipe_digest = fingerprinter.recipe_digest();
    b.numeric_profile = std::move(profile);
    return b;
  }
  std::vector<Segment> chain_of(const Fingerprinter& fingerprinter, const ChainBinding& b,
                                Tokens tokens, const std::vector<float>& states) const {
    const std::size_t hidden = states.size() / tokens.size();
    auto chain = must(FingerprintChain::create(b));
    for (std::size_t t = 0; t < tokens.size(); ++t) {
      const auto state = std::span(states).subspan(t * hidden, hidden);
      chain.add(tokens[t], must(fingerprinter.fingerprint(state)));
    }
    chain.flush();
    return chain.take_complete();
  }

  const std::unique_ptr<Tokenizer> tokenizer_ = must(Tokenizer::load(smollm2_path()));
  const std::vector<TokenId> text_ = tokenizer_->encode(read_text("prose.txt"), false);
};

Fingerprinter fingerprinter_for(const std::vector<float>& states, std::int32_t hidden) {
  const FingerprintSeed seed{1, 2, 3};
  const std::int64_t step = must(choose_fingerprint_step(hidden, seed, states));
  return must(Fingerprinter::create(must(make_fingerprint_recipe(hidden, seed, step))));
}

// Bytes are equal in the invariant profile however the batch looked, and only for these tokens
// after this prompt.
TEST_F(RealStatesTest, ExactInTheInvariantProfile) {
  States model(smollm2_path(), NumericProfile::kInvariant, KvDtype::kBf16);
  const auto served = model.of(prompt(0), answer(0), Way::kBatch);
  const Fingerprinter fingerprinter = fingerprinter_for(served, model.runner().config().hidden);
  const ChainBinding b = binding(fingerprinter, model.runner().numeric_profile());
  const auto segments = chain_of(fingerprinter, b, answer(0), served);
  const auto verify = [&](const std::vector<float>& states) {
    const Reexecution own{answer(0), states, b.numeric_profile};
    return must(verify_fingerprints_exact(fingerprinter, b, segments, own));
  };
  EXPECT_EQ(verify(model.of(prompt(0), answer(0), Way::kPrefill)).verdict,
            FingerprintVerdict::kAccepted);
  EXPECT_EQ(verify(model.of(prompt(0), answer(0), Way::kChunks)).verdict,
            FingerprintVerdict::kAccepted);
  std::vector<TokenId> other(prompt(0).begin(), prompt(0).end());
  std::swap(other[3], other[4]);
  const auto refused = verify(model.of(other, answer(0), Way::kPrefill));
  EXPECT_EQ(refused.verdict, FingerprintVerdict::kBytesDiffer);
  EXPECT_EQ(refused.first_token, 0);
}

// Calibrated on runs that differ in batch, chunks and KV type: what differs that way passes,
// another quantisation, another prompt and shifted states do not.
TEST_F(RealStatesTest, TolerantAcrossConfigurations) {
  States served(smollm2_path(), NumericProfile::kFast, KvDtype::kBf16);
  States checked(smollm2_path(), NumericProfile::kFast, KvDtype::kF32);
  const std::int32_t hidden = served.runner().config().hidden;
  std::optional<Fingerprinter> made;
  std::vector<std::vector<double>> runs;
  for (std::size_t run = 0; run < 4; ++run) {
    const Way way = run % 3 == 0 ? Way::kDecode : run % 3 == 1 ? Way::kBatch : Way::kChunks;
    const auto states = served.of(prompt(run), answer(run), way);
    if (!made) made = fingerprinter_for(states, hidden);
    const auto own = checked.of(prompt(run), answer(run), Way::kPrefill);
    runs.emplace_back();
    for (std::size_t at = 0; at < own.size(); at += static_cast<std::size_t>(hidden)) {
      const auto n = static_cast<std::size_t>(hidden);
      const auto record = must(made->fingerprint(std::span(states).subspan(at, n)));
      runs.back().push_back(
          made->distance(must(made->project(std::span(own).subspan(at, n))), record));
    }
  }
  const auto tolerance = must(calibrate_fingerprints(runs, 1.25));

  constexpr std::size_t kHeldOut = 7;
  const Tokens tokens = answer(kHeldOut);
  const auto states = served.of(prompt(kHeldOut), tokens, Way::kBatch);
  const ChainBinding b = binding(*made, served.runner().numeric_profile());
  const auto segments = chain_of(*made, b, tokens, states);
  const auto expect = [&](const char* name, const std::vector<float>& own,
                          FingerprintVerdict wanted) {
    const auto report =
        must(verify_fingerprints_tolerant(*made, b, segments, {tokens, own, "x"}, tolerance));
    RecordProperty(name, std::to_string(report.capped_mean));
    EXPECT_EQ(report.verdict, wanted)
        << name << ": " << report.capped_mean << ", limit " << tolerance.mean_limit;
  };
  constexpr auto kAccepted = FingerprintVerdict::kAccepted;
  constexpr auto kTooFar = FingerprintVerdict::kTooFar;
  RecordProperty("limit", std::to_string(tolerance.mean_limit));
  expect("prefill", served.of(prompt(kHeldOut), tokens, Way::kPrefill), kAccepted);
  expect("kv_f32", checked.of(prompt(kHeldOut), tokens, Way::kChunks), kAccepted);
  expect("other_prompt", served.of(prompt(12), tokens, Way::kPrefill), kTooFar);
  auto shifted = states;
  std::rotate(shifted.begin(), shifted.begin() + hidden, shifted.end());
  expect("shifted", shifted, kTooFar);

  const std::string file = ::testing::TempDir() + "fieldprint_requantized.gguf";
  requantize(smollm2_path(), file, Requantized::kQ5_1);
  States other(file, NumericProfile::kFast, KvDtype::kBf16);
  expect("q5_1", other.of(prompt(kHeldOut), tokens, Way::kPrefill), kTooFar);
  std::remove(file.c_str());
}

// The same prose under two identities. Fitted on some of it, the angle tells the identities apart
// on the rest. (That the text is the same shows the anchor's mark alone, not drift.)
TEST_F(RealStatesTest, CoherenceTellsIdentitiesApart) {
  constexpr std::int32_t kLayer = 18;
  constexpr std::size_t kPassage = 28;
  const std::vector<TokenId> identities[] = {
      tokenizer_->encode("<|im_start|>system\nYou are a helpful AI assistant.<|im_end|>\n"
                         "<|im_start|>assistant\n",
                         true),
      tokenizer_->encode("<|im_start|>system\nYou are Marlow, a gruff lighthouse keeper. You speak "
                         "of the sea, of storms and lamps.<|im_end|>\n<|im_start|>assistant\n",
                         true)};
  const auto runner = open_runner(smollm2_path());
  const auto hidden = static_cast<std::size_t>(runner->config().hidden);
  const auto states = [&](const std::vector<TokenId>& identity, std::size_t passage) {
    BlockPool pool(runner->page_count());
    TestSequence sequence(*runner, pool);
    const SequenceStep head = sequence.step(identity, LogitsWanted::kNone, KvClass::kSystem);
    (void)must(runner->forward({&head, 1}));
    SequenceStep step = sequence.step(text(passage * kPassage, kPassage), LogitsWanted::kAll);
    step.tap = TapWanted::kFinalAndLayer;
    step.tap_layer = kLayer;
    const auto tapped = must(runner->forward({&step, 1})).tap_layer;
    return std::vector<float>(tapped.begin(), tapped.end());
  };
  std::vector<float> groups[2];
  for (std::size_t passage = 0; passage < 5; ++passage) {
    for (std::size_t i = 0; i < 2; ++i) {
      const auto more = states(identities[i], passage);
      groups[i].insert(groups[i].end(), more.begin(), more.end());
    }
  }
  CoherenceFitOptions options;
  options.layer = kLayer;
  options.dims = 16;
  const auto recipe =
      must(fit_coherence(static_cast<std::int32_t>(hidden), groups[0], groups[1], options));
  const Coherence coherence = must(Coherence::create(recipe));
  for (std::size_t passage = 5; passage < 7; ++passage) {
    double angles[2];
    for (std::size_t i = 0; i < 2; ++i) {
      CoherenceState pooled;
      const auto sequence = states(identities[i], passage);
      for (std::size_t at = 0; at < sequence.size(); at += hidden) {
        coherence.step(pooled, std::span(sequence).subspan(at, hidden));
      }
      angles[i] = coherence.read(pooled).angle;
    }
    RecordProperty("angles_" + std::to_string(passage),
                   std::to_string(angles[0]) + " " + std::to_string(angles[1]));
    EXPECT_LT(angles[1] + 0.3, angles[0]) << "passage " << passage;
  }
}

}  // namespace
}  // namespace fieldprint::test
