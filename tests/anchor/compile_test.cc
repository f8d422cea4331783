#include "anchor/compile.h"

#include <gtest/gtest.h>

#include <numeric>

#include "anchor/document.h"
#include "support.h"

namespace fieldprint {
namespace {

using test::code_of;
using test::FakeRunner;
using test::must;

AnchorCompileOptions options() {
  return {.name = "ada", .wrap = "raw", .model_digest = "sha256:" + std::string(64, 'a')};
}
std::vector<TokenId> some_tokens(std::int32_t n) {
  std::vector<TokenId> tokens(static_cast<std::size_t>(n));
  std::iota(tokens.begin(), tokens.end(), 100);
  return tokens;
}

TEST(AnchorCompile, KeepsTheRunnersRowsInOrder) {
  FakeRunner runner(8, 512);
  BlockPool pool(8);
  const std::vector<TokenId> tokens = some_tokens(40);
  const AnchorArtifact anchor =
      must(compile_anchor_tokens(runner, pool, tokens, "I am Ada.", "", options()));
  EXPECT_EQ(anchor.tokens, tokens);
  EXPECT_EQ(anchor.text, "I am Ada.");
  EXPECT_EQ(anchor.recipe.numeric_profile, "test/fake");
  EXPECT_EQ(anchor.recipe.wrap, "raw");
  std::size_t i = 0;
  for (int layer = 0; layer < 3; ++layer) {
    for (int head = 0; head < 2; ++head) {
      for (int pos = 0; pos < 40; ++pos) {
        for (int d = 0; d < 4; ++d, ++i) {
          ASSERT_EQ(anchor.k[i], runner.expected(layer, head, pos, d, 1)) << pos;
          ASSERT_EQ(anchor.v[i], runner.expected(layer, head, pos, d, 2)) << pos;
        }
      }
    }
  }
  EXPECT_EQ(i, anchor.k.size());
  EXPECT_EQ(anchor.beta_fit, std::vector<float>(3 * 2 * 40, 0.0F));
  EXPECT_EQ(pool.free_count(), 8) << "the pages come back";
}

TEST(AnchorCompile, SinkHasAPageAndLeafOfItsOwn) {
  FakeRunner runner(80, 512);
  BlockPool pool(80);
  runner.config_.context_train = 2000;
  ASSERT_TRUE(compile_anchor_tokens(runner, pool, some_tokens(600), "x", "", options()));
  EXPECT_EQ(runner.steps_, 2);
  ASSERT_EQ(runner.last_pages_.size(), 39U);  // 1 and 599 rows
  EXPECT_EQ(runner.last_pages_[0].cls, KvClass::kSink);
  EXPECT_EQ(runner.last_pages_[0].rows, 1);
  EXPECT_EQ(runner.last_pages_[1].cls, KvClass::kAnchor);
  EXPECT_EQ(runner.last_pages_[1].first_pos, 1);
  ASSERT_EQ(runner.last_leaves_.size(), 3U);
  EXPECT_EQ(runner.last_leaves_[0].page_count, 1);
  EXPECT_EQ(runner.last_leaves_[1].page_count, kLeafPages);
  EXPECT_EQ(runner.last_leaves_[2].page_count, 6);
}

TEST(AnchorCompile, StepSizeDoesNotChangeTheAnchor) {
  std::string digest;
  for (const std::int32_t step : {1, 2, 16, 17, 512}) {
    FakeRunner runner(8, step);
    BlockPool pool(8);
    const AnchorArtifact anchor =
        must(compile_anchor_tokens(runner, pool, some_tokens(50), "x", "", options()));
    EXPECT_EQ(runner.steps_, (50 + step - 1) / step);
    if (digest.empty()) digest = anchor.digest;
    EXPECT_EQ(anchor.digest, digest) << step;
  }
}

TEST(AnchorCompile, RefusesByNameAndGivesPagesBack) {
  FakeRunner runner(3, 16);
  BlockPool pool(3);
  const auto code = [&](std::int32_t n, const AnchorCompileOptions& opts) {
    return code_of(compile_anchor_tokens(runner, pool, some_tokens(n), "x", "", opts));
  };
  EXPECT_EQ(code(1, options()), "anchor_too_short");
  EXPECT_EQ(code(513, options()), "anchor_too_large") << "the model's context is 512";
  EXPECT_EQ(code(100, options()), "kv_exhausted");
  EXPECT_EQ(pool.free_count(), 3);
  AnchorCompileOptions unnamed = options();
  unnamed.name.clear();
  EXPECT_EQ(code(20, unnamed), "anchor_name_invalid");
  AnchorCompileOptions wrong = options();
  wrong.model_digest = "md5:1";
  EXPECT_EQ(code(20, wrong), "anchor_corrupt");
  runner.fail_after_ = 1;
  EXPECT_EQ(code(20, options()), "device_lost");
  EXPECT_EQ(pool.free_count(), 3);
  runner.fail_after_ = 100;
  EXPECT_EQ(code(20, options()), "ok");
}

}  // namespace
}  // namespace fieldprint
