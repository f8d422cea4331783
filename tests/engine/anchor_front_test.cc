// A real PinnedAnchor in front of an engine over the fake runner.
#include <gtest/gtest.h>

#include "engine/harness.h"
#include "engine/threaded_engine.h"

namespace fieldprint::testing {
namespace {

std::vector<TokenId> identity(std::int32_t length) {
  std::vector<TokenId> tokens;
  for (std::int32_t i = 0; i < length; ++i) tokens.push_back((i * 11 + 5) % 60);
  return tokens;
}

// Rows as FakeRunner stores them: K is (token, position).
std::shared_ptr<AnchorArtifact> artifact(std::int32_t length) {
  auto out = std::make_shared<AnchorArtifact>();
  out->name = "test";
  out->tokens = identity(length);
  out->model_digest = "sha256:model";
  out->digest = "sha256:anchor";
  out->layers = 1;
  out->kv_heads = 1;
  out->head_dim = 2;
  for (std::int32_t i = 0; i < length; ++i) {
    out->k.push_back(static_cast<std::uint16_t>(out->tokens[static_cast<std::size_t>(i)]));
    out->k.push_back(static_cast<std::uint16_t>(i));
  }
  out->v.assign(out->k.size(), 0);
  out->beta_fit.assign(static_cast<std::size_t>(length), 0.0F);
  return out;
}

EngineCoreSetup setup_with(const AnchorBinding& binding, std::int32_t pages = 128) {
  EngineCoreSetup setup;
  setup.runner = std::make_unique<FakeRunner>(pages, 256);
  setup.decoder = std::make_shared<FakeDecoder>();
  setup.anchor = anchor_factory(binding);
  return setup;
}

TEST(AnchorFront, PinnedRowsStandInFrontOfEveryContext) {
  AnchorBinding binding;
  binding.artifact = artifact(41);
  binding.model_digest = "sha256:model";
  auto core = EngineCore::create(setup_with(binding));
  ASSERT_TRUE(core) << core.error().message;
  const std::int32_t pinned = (*core)->stats().pages_used;
  EXPECT_EQ(pinned, 1 + 3);
  Client client;
  auto job = (*core)->prepare(make_request(30, 1, 40));
  ASSERT_TRUE(job);
  client.job = *job;
  (*core)->enqueue(*job);
  while ((*core)->step().worked) client.drain_events();
  client.drain_events();
  expect_as_oracle(client, identity(41));
  EXPECT_EQ(client.outcome.usage->anchor_tokens, 41);
  EXPECT_EQ((*core)->stats().pages_used, pinned);
}

TEST(AnchorFront, PolicyIsPartOfTheCacheSeed) {
  std::vector<std::string> seeds;
  for (const float beta : {0.0F, 0.5F}) {
    AnchorBinding binding;
    binding.artifact = artifact(20);
    binding.beta_policy = beta;
    FakeRunner runner(64, 64);
    BlockPool pool(64);
    const auto anchor = anchor_factory(binding)(pool, runner);
    ASSERT_TRUE(anchor);
    seeds.push_back(anchor->seed);
  }
  EXPECT_NE(seeds[0], seeds[1]);
}

TEST(AnchorFront, NoArtifactMeansNoFactory) { EXPECT_FALSE(anchor_factory({})); }

TEST(AnchorFront, ErrorsOfTheAnchorEndCreation) {
  AnchorBinding binding;
  binding.artifact = artifact(41);
  binding.model_digest = "sha256:other";
  const auto mismatch = EngineCore::create(setup_with(binding));
  ASSERT_FALSE(mismatch);
  EXPECT_EQ(mismatch.error().code, "anchor_model_mismatch");
  binding.model_digest.clear();
  const auto full = EngineCore::create(setup_with(binding, 3));
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, "kv_exhausted");
}

}  // namespace
}  // namespace fieldprint::testing
