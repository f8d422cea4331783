#include "anchor/pinned.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "anchor/compile.h"
#include "kv/block_table.h"
#include "support.h"

namespace fieldprint {
namespace {

using test::code_of;
using test::FakeRunner;
using test::must;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
const std::string kModel = "sha256:" + std::string(64, 'a');

class Pinned : public ::testing::Test {
 protected:
  void SetUp() override {
    std::vector<TokenId> tokens(40);
    std::iota(tokens.begin(), tokens.end(), 7);
    BlockPool scratch(runner_.page_count());
    anchor_ = must(compile_anchor_tokens(runner_, scratch, tokens, "x", "",
                                         {.name = "ada", .wrap = "raw", .model_digest = kModel}));
  }
  std::unique_ptr<PinnedAnchor> load(const AnchorPolicy& policy = {}) {
    return must(PinnedAnchor::load(anchor_, policy, kModel, runner_, pool_));
  }

  FakeRunner runner_{12, 64};
  BlockPool pool_{12};
  AnchorArtifact anchor_;
};

TEST_F(Pinned, RowsLandWhereTheViewSays) {
  FakeRunner fresh(12, 64);
  const auto pinned = must(PinnedAnchor::load(anchor_, {}, kModel, fresh, pool_));
  EXPECT_EQ(pinned->length(), 40);
  std::vector<PageEntry> entries = {pinned->sink()};
  for (const PageEntry& entry : pinned->view().pages) entries.push_back(entry);
  std::int32_t pos = 0;
  for (const PageEntry& entry : entries) {
    EXPECT_EQ(entry.first_pos, pos);
    for (int layer = 0; layer < 3; ++layer) {
      const PageRows rows = must(fresh.read_page(layer, entry.page, entry.rows));
      std::size_t i = 0;
      for (int head = 0; head < 2; ++head) {
        for (int row = 0; row < entry.rows; ++row) {
          for (int d = 0; d < 4; ++d, ++i) {
            ASSERT_EQ(rows.k[i], runner_.expected(layer, head, pos + row, d, 1));
            ASSERT_EQ(rows.v[i], runner_.expected(layer, head, pos + row, d, 2));
          }
        }
      }
    }
    pos += entry.rows;
  }
  EXPECT_EQ(pos, 40);
}

TEST_F(Pinned, LayoutIsSinkPageThenAnchorLeaves) {
  const auto pinned = load();
  EXPECT_EQ(pinned->sink().cls, KvClass::kSink);
  EXPECT_EQ(pinned->sink().rows, 1);
  const AnchorView view = pinned->view();
  ASSERT_EQ(view.pages.size(), 3U);  // 39 rows
  EXPECT_EQ(view.pages[0].cls, KvClass::kAnchor);
  EXPECT_EQ(view.pages[2].rows, 7);
  ASSERT_EQ(view.leaves.size(), 1U);
  EXPECT_EQ(view.leaves[0].page_count, 3);
  EXPECT_EQ(view.beta, nullptr) << "exact rows at strength 0 are an ordinary prefix";
  EXPECT_EQ(view.gamma, nullptr);
  EXPECT_EQ(view.beta_stride, 48);
}

TEST_F(Pinned, PinsUntilDestroyed) {
  auto pinned = load();
  EXPECT_EQ(pool_.used_count(), 4);
  EXPECT_EQ(pool_.pin_count(pinned->sink().page), 1);
  EXPECT_TRUE(check_references(pool_, {})) << "pins, not references";
  {
    BlockTable table(pool_);
    table.adopt(std::span(&pinned->sink(), 1));
    table.skip_to(pinned->length());
    // A row of class sink would fit the page, but nobody may write into a pinned one.
    EXPECT_EQ(table.plan(KvClass::kSink, 1).new_pages, 1);
    ASSERT_TRUE(table.commit(KvClass::kUser, 1));
    EXPECT_EQ(table.page_entries()[1].first_pos, 40);
    pinned.reset();
    EXPECT_EQ(pool_.used_count(), 2) << "the sequence still shares the sink page";
  }
  EXPECT_EQ(pool_.free_count(), 12);
  EXPECT_TRUE(pool_.check_integrity());
}

TEST_F(Pinned, BetaIsFitPlusPolicyAndNeverTheSinks) {
  for (std::size_t i = 0; i < anchor_.beta_fit.size(); ++i) {
    anchor_.beta_fit[i] = static_cast<float>(i);
  }
  const auto pinned = load({.beta_policy = 0.5F});
  const AnchorView view = pinned->view();
  ASSERT_NE(view.beta, nullptr);
  for (int list = 0; list < 6; ++list) {
    for (int row = 1; row < 40; ++row) {
      ASSERT_EQ(view.beta[list * view.beta_stride + row - 1],
                static_cast<float>(list * 40 + row) + 0.5F);
    }
  }
}

TEST_F(Pinned, PoliciesReachTheView) {
  const auto gated = load({.mode = AnchorMode::kGated, .gamma = 0.25F});
  EXPECT_EQ(gated->view().mode, AnchorMode::kGated);
  for (int i = 0; i < 3 * 4; ++i) ASSERT_EQ(gated->view().gamma[i], 0.25F);
  const auto floored = load({.mode = AnchorMode::kFloored, .psi = 0.1F});
  EXPECT_EQ(floored->view().psi, 0.1F);
  EXPECT_EQ(floored->view().gamma, nullptr);
  EXPECT_NE(gated->cache_seed(), floored->cache_seed());
}

TEST_F(Pinned, SeedNamesRowsAndEveryStrength) {
  const std::string base = load()->cache_seed();
  EXPECT_EQ(load()->cache_seed(), base);
  EXPECT_NE(load({.beta_policy = 1.0F})->cache_seed(), base);
  EXPECT_NE(load({.mode = AnchorMode::kGated})->cache_seed(), base);
  EXPECT_NE(load({.mode = AnchorMode::kGated, .gamma = 0.5F})->cache_seed(),
            load({.mode = AnchorMode::kGated})->cache_seed());
  anchor_.digest.back() = anchor_.digest.back() == '0' ? '1' : '0';
  EXPECT_NE(load()->cache_seed(), base);
}

TEST_F(Pinned, RefusesByNameAndTakesNothing) {
  const auto code = [&](const AnchorPolicy& policy, const std::string& model = kModel) {
    return code_of(PinnedAnchor::load(anchor_, policy, model, runner_, pool_));
  };
  EXPECT_EQ(code({}, "sha256:" + std::string(64, 'b')), "anchor_model_mismatch");
  for (const float gamma : {-0.1F, 1.1F, kNan}) {
    EXPECT_EQ(code({.mode = AnchorMode::kGated, .gamma = gamma}), "anchor_mode_invalid");
  }
  for (const float psi : {-0.1F, 1.0F, kNan}) {
    EXPECT_EQ(code({.mode = AnchorMode::kFloored, .psi = psi}), "anchor_mode_invalid");
  }
  for (const float beta : {-20.5F, 21.0F, kNan, std::numeric_limits<float>::infinity()}) {
    EXPECT_EQ(code({.beta_policy = beta}), "anchor_mode_invalid");
  }
  EXPECT_EQ(code({.mode = AnchorMode::kJoint, .gamma = 7, .psi = 7}), "ok")
      << "parameters of other modes are not used";
  for (std::int32_t ModelConfig::*field :
       {&ModelConfig::layers, &ModelConfig::kv_heads, &ModelConfig::head_dim}) {
    ++(runner_.config_.*field);
    EXPECT_EQ(code({}), "anchor_model_mismatch");
    --(runner_.config_.*field);
  }
  runner_.fail_after_ = 5;
  EXPECT_EQ(code({}), "device_lost");
  runner_.fail_after_ = 1000;
  EXPECT_EQ(pool_.free_count(), 12);
  const auto held = must(pool_.allocate(9));
  EXPECT_EQ(code({}), "kv_exhausted");
  EXPECT_EQ(pool_.free_count(), 3);
  for (const PageId page : held) pool_.release(page);
  anchor_.digest.clear();
  EXPECT_EQ(code({}), "anchor_corrupt");
}

}  // namespace
}  // namespace fieldprint
