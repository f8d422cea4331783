// Fingerprints of a receipt against a real model: the run that made them holds, others do not.
#include "app/support/fingerprint_check.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "anchor/compile.h"
#include "supervisor/receipt_chain.h"

namespace fieldprint::app {
namespace {

constexpr std::int32_t kTokens = 40;

template <typename T>
T must(Result<T> result) {
  if (!result) {
    ADD_FAILURE() << result.error().code << ": " << result.error().message;
    std::abort();
  }
  return std::move(*result);
}

struct Answered {
  ReceiptReport report;
  std::vector<std::vector<TokenId>> tokens;
};

class Fingerprints : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* folder = std::getenv("FIELDPRINT_MODELS_DIR");
    model_.path =
        std::string(folder == nullptr ? "models" : folder) + "/SmolLM2-135M-Instruct.Q4_1.gguf";
    if (!std::filesystem::exists(model_.path)) GTEST_SKIP() << "no model";
    model_.model = must(load_model(model_.path));
    model_.tokenizer = must(Tokenizer::load(model_.path));
    model_.digest = "sha256:" + std::string(64, '1');
    SupervisionRecipe recipe;
    const ModelConfig& config = model_.model->config;
    recipe.fingerprint = must(make_fingerprint_recipe(config.hidden, FingerprintSeed{}, 5000));
    anchor_.supervision = must(SupervisionModel::create(recipe, config.hidden, config.layers));
    anchor_.model_digest = model_.digest;
    CpuRunnerOptions runner;
    runner.threads = 2;
    runner.kv_tokens = 512;
    runner.profile = NumericProfile::kInvariant;
    anchor_.artifact = std::make_shared<const AnchorArtifact>(must(
        compile_anchor(*must(make_cpu_runner(model_.model, runner)), *model_.tokenizer, nullptr,
                       "You keep a lighthouse. You are brief.", {"keeper", "raw", model_.digest})));
  }

  FingerprintPlace place(const std::string& text) const {
    FingerprintPlace place{model_, anchor_, {}, {}};
    place.prompt = {{model_.tokenizer->encode(text, false), KvClass::kUser}};
    place.runner.threads = 2;
    place.runner.profile = NumericProfile::kInvariant;
    return place;
  }

  // Decoded token by token by a supervised engine, as a server would.
  Answered answer(const FingerprintPlace& place) const {
    CpuRunnerOptions runner = place.runner;
    runner.kv_tokens = 1024;
    EngineOptions options;
    options.context_length = 256;
    const auto engine = must(Engine::create(must(make_cpu_runner(model_.model, runner)),
                                            *model_.tokenizer, options, place.anchor));
    Answered out;
    Receipt& receipt = out.report.receipt;
    receipt.response_id = "cmpl-1";
    receipt.salt.fill(9);
    receipt.model_digest = model_.digest;
    receipt.numeric_profile = engine->numeric_profile();
    receipt.anchor.digests = {place.anchor.artifact->digest};
    GenerationRequest request;
    request.id = receipt.response_id;
    request.prompt = place.prompt;
    request.sampling.temperature = 0;
    request.max_tokens = kTokens;
    request.ignore_eos = true;
    request.supervision.emplace();
    request.supervision->release = ReleaseMode::kOff;
    request.supervision->salt = receipt.salt;
    const auto generation = must(engine->submit(std::move(request)));
    while (true) {
      const auto event = generation->next(std::chrono::milliseconds(1000));
      if (!event) continue;
      if (const auto* done = std::get_if<ChoiceDoneEvent>(&*event)) {
        out.tokens = {done->tokens};
        receipt.choices.resize(1);
        receipt.choices[0].tokens = static_cast<std::int64_t>(done->tokens.size());
        receipt.choices[0].supervision = receipt_supervision(*done->supervision);
        out.report.chains = {print_segments(done->supervision->segments)};
      }
      if (std::holds_alternative<DoneEvent>(*event)) return out;
    }
  }

  static std::string verdict(const Result<ReceiptCheck>& check) {
    if (!check) return check.error().code;
    return check->code.empty() ? check_outcome_name(check->outcome) : check->code;
  }

  ModelStack model_;
  AnchorBinding anchor_;
};

TEST_F(Fingerprints, TheRunThatMadeThemHoldsByteForByteAndOthersDoNot) {
  const FingerprintPlace honest = place("The lighthouse keeper wrote in the log that");
  const Answered answered = answer(honest);
  const auto held = check_fingerprints(honest, answered.report, answered.tokens);
  ASSERT_EQ(verdict(held), "holds") << held->detail;
  EXPECT_NE(held->detail.find("40 tokens compared byte for byte"), std::string::npos);

  // Another prompt under the same tokens, and other tokens under the same prompt.
  EXPECT_EQ(verdict(check_fingerprints(place("The lighthouse keeper wrote in a log that"),
                                       answered.report, answered.tokens)),
            "fingerprint_bytes_differ");
  FingerprintPlace stronger = honest;
  stronger.anchor.beta_policy = 1;
  EXPECT_EQ(verdict(check_fingerprints(stronger, answered.report, answered.tokens)),
            "fingerprint_bytes_differ");
  auto tokens = answered.tokens;
  tokens[0][20] ^= 1;
  EXPECT_EQ(verdict(check_fingerprints(honest, answered.report, tokens)),
            "fingerprint_tokens_differ");

  // A chain cut short is refused before anything is computed.
  ReceiptReport cut = answered.report;
  cut.receipt.choices[0].supervision.chain_head = digest_string(sha256("elsewhere"));
  EXPECT_EQ(verdict(check_fingerprints(honest, cut, answered.tokens)), "receipt_chain_head");

  // In another profile nothing is claimed without limits.
  FingerprintPlace elsewhere = honest;
  elsewhere.runner.profile = NumericProfile::kFast;
  EXPECT_EQ(verdict(check_fingerprints(elsewhere, answered.report, answered.tokens)),
            "not checked");
}

TEST_F(Fingerprints, WhatCannotBeComputedAgainIsNotChecked) {
  const FingerprintPlace honest = place("Once");
  Answered answered = answer(honest);
  EXPECT_EQ(verdict(check_fingerprints(honest, answered.report, {{}})), "not checked");
  FingerprintPlace bare = honest;
  bare.anchor.supervision = nullptr;
  EXPECT_EQ(verdict(check_fingerprints(bare, answered.report, answered.tokens)), "not checked");
  ReceiptSupervision& stated = answered.report.receipt.choices[0].supervision;
  stated.rollback_count = 1;
  stated.rollbacks = {{16, 0, 0, "remind", "limit", 1500000, "none"}};
  const auto check = check_fingerprints(honest, answered.report, answered.tokens);
  EXPECT_EQ(verdict(check), "not checked");
  EXPECT_NE(check->detail.find("remind"), std::string::npos) << check->detail;
}

}  // namespace
}  // namespace fieldprint::app
