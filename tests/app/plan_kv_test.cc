// How settings and memory become context and pool sizes; the anchor rules that need no model.
#include <gtest/gtest.h>

#include "app/support/anchor_source.h"
#include "app/support/model_stack.h"

namespace fieldprint::app {
namespace {

constexpr std::int64_t kMiB = std::int64_t{1} << 20;

Settings settings_of(const std::map<std::string, std::string>& flags) {
  Layer layer;
  for (const auto& [name, value] : flags) layer[name] = {{value}, Origin::kFlag, "--" + name};
  return *merge_settings(Command::kServe, {layer});
}

ModelConfig config_of(std::int32_t context) {
  ModelConfig config;
  config.layers = 30;
  config.kv_heads = 3;
  config.head_dim = 64;
  config.context_train = context;
  return config;
}

TEST(PlanKv, BytesPerTokenCountKeysAndValuesOfAllLayers) {
  EXPECT_EQ(kv_bytes_per_token(config_of(1), "bf16"), 2 * 2 * 30 * 3 * 64);
  EXPECT_EQ(kv_bytes_per_token(config_of(1), "f32"), 2 * 4 * 30 * 3 * 64);
}

TEST(PlanKv, TakesFourContextsWhereMemoryAllows) {
  const KvBudget one = plan_kv(settings_of({}), config_of(8192), 1, 100'000 * kMiB);
  const KvBudget many = plan_kv(settings_of({}), config_of(8192), 16, 100'000 * kMiB);
  EXPECT_EQ(one.context_length, 8192);
  EXPECT_GE(one.kv_tokens, 8192);
  EXPECT_EQ(many.kv_tokens, 4 * one.kv_tokens);
  EXPECT_FALSE(many.context_lowered);
}

TEST(PlanKv, NeverMoreThanItMayTake) {
  const std::int64_t allowed = 100 * kMiB;
  const ModelConfig config = config_of(131072);
  const KvBudget budget = plan_kv(settings_of({}), config, 4, allowed);
  EXPECT_LE(budget.kv_tokens * kv_bytes_per_token(config, "bf16"), allowed);
  EXPECT_TRUE(budget.context_lowered);
  EXPECT_LT(budget.context_length, budget.kv_tokens);
  EXPECT_GT(budget.context_length, 1000);
}

TEST(PlanKv, AGpuIsUsedToTheLastPage) {
  const ModelConfig config = config_of(8192);
  const std::int64_t each = kv_bytes_per_token(config, "bf16");
  const KvBudget budget = plan_kv(settings_of({}), config, 1, 100'000 * kMiB, PoolSize::kAllMemory);
  EXPECT_EQ(budget.kv_tokens, 100'000 * kMiB / each);
  EXPECT_EQ(budget.context_length, 8192);
}

TEST(PlanKv, ExplicitWishesAreNeverChanged) {
  const Settings settings = settings_of({{"context-length", "4096"}, {"kv-tokens", "5000"}});
  const KvBudget budget = plan_kv(settings, config_of(8192), 16, kMiB);
  EXPECT_EQ(budget.context_length, 4096);
  EXPECT_EQ(budget.kv_tokens, 5000);
  EXPECT_FALSE(budget.context_lowered);
  const KvBudget context =
      plan_kv(settings_of({{"context-length", "4096"}}), config_of(8192), 1, kMiB);
  EXPECT_EQ(context.context_length, 4096);
}

TEST(AnchorSettings, UnsignedNeedsTheFlag) {
  EXPECT_TRUE(check_anchor_settings(settings_of({})).has_value());
  const std::pair<const char*, const char*> wanted[] = {{"anchor", "trust_missing"},
                                                        {"anchor-text", "anchor_unsigned"}};
  for (const auto& [name, code] : wanted) {
    const Status refused =
        check_anchor_settings(settings_of({{name, "x"}, {"trust-dir", "no/such/folder"}}));
    EXPECT_EQ(refused.error().code, code);
    EXPECT_EQ(refused.error().kind, ErrorKind::kForbidden);
    EXPECT_TRUE(check_anchor_settings(settings_of({{name, "x"}, {"insecure-anchors", "true"}}))
                    .has_value());
    EXPECT_TRUE(
        check_anchor_settings(settings_of({{name, "x"}, {"no-anchor", "true"}})).has_value());
  }
  EXPECT_EQ(
      check_anchor_settings(settings_of({{"anchor", "x"}, {"anchor-text", "y"}})).error().code,
      "option_conflict");
}

}  // namespace
}  // namespace fieldprint::app
