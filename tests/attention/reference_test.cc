// The reference against answers known in closed form: the kernels' tests are only
// as good as this.
#include "attention/reference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "attention/attention_cases.h"

namespace fieldprint {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

// One head of dimension 1: row r of page p has k = keys[p][r], v = values[p][r].
struct Tiny {
  std::vector<std::vector<double>> keys, values;
  std::vector<PageEntry> pages, anchor_pages;
  std::vector<float> beta, gamma{0.25F}, q{1.0F};
  SequencePlan plan;

  ReferenceOutput run(int query_pos, int window = 0) {
    plan.query_count = 1;
    plan.first_query_pos = query_pos;
    plan.pages = pages;
    plan.anchor.pages = anchor_pages;
    plan.anchor.beta = beta.empty() ? nullptr : beta.data();
    plan.anchor.beta_stride = static_cast<int>(beta.size());
    plan.anchor.gamma = gamma.data();
    ReferenceArgs args;
    args.shape = {1, 1, 1, 1.0F};
    args.window = window;
    args.q = q;
    const auto from = [](const auto& table) {
      return [&table](PageId page, int row, int, std::span<double> out) {
        out[0] = table[static_cast<std::size_t>(page)][static_cast<std::size_t>(row)];
      };
    };
    args.k_row = from(keys);
    args.v_row = from(values);
    return reference_attention(plan, args);
  }
};

Tiny two_and_one() {
  Tiny t;
  t.keys = {{std::log(1.0), std::log(2.0)}, {std::log(5.0)}};
  t.values = {{10.0, 40.0}, {100.0}};
  t.pages = {{0, KvClass::kUser, 2, 1}};
  t.anchor_pages = {{1, KvClass::kAnchor, 1, 0}};
  return t;
}

TEST(Reference, JointIsOneSoftmaxOverBothSides) {
  const ReferenceOutput out = two_and_one().run(2);
  EXPECT_NEAR(out.o[0], (10.0 + 2 * 40.0 + 5 * 100.0) / 8.0, 1e-12);
  EXPECT_NEAR(out.lse_context[0], std::log(3.0), 1e-12);
  EXPECT_NEAR(out.lse_anchor[0], std::log(5.0), 1e-12);
  EXPECT_NEAR(out.lse_joint[0], std::log(8.0), 1e-12);
  EXPECT_NEAR(out.mass[static_cast<int>(KvClass::kUser)], 3.0 / 8.0, 1e-12);
  EXPECT_NEAR(out.mass[static_cast<int>(KvClass::kAnchor)], 5.0 / 8.0, 1e-12);
}

TEST(Reference, BetaMultipliesARowsWeight) {
  Tiny t = two_and_one();
  t.beta.assign(kPageRows, 0.0F);
  t.beta[0] = static_cast<float>(std::log(3.0));
  EXPECT_NEAR(t.run(2).o[0], (10.0 + 2 * 40.0 + 15 * 100.0) / 18.0, 1e-5);
}

TEST(Reference, GatedMixesByGamma) {
  Tiny t = two_and_one();
  t.plan.anchor.mode = AnchorMode::kGated;
  const ReferenceOutput out = t.run(2);
  EXPECT_NEAR(out.o[0], 0.25 * 100.0 + 0.75 * (90.0 / 3.0), 1e-12);
  EXPECT_NEAR(out.mass[static_cast<int>(KvClass::kAnchor)], 0.25, 1e-12);
}

TEST(Reference, FlooredLiftsToPsiAndNoFurtherThanTheCap) {
  Tiny t = two_and_one();
  t.plan.anchor.mode = AnchorMode::kFloored;
  const auto anchor_mass = [&](float psi) {
    t.plan.anchor.psi = psi;
    return t.run(2).mass[static_cast<int>(KvClass::kAnchor)];
  };
  EXPECT_NEAR(anchor_mass(0.0F), 5.0 / 8.0, 1e-12);
  EXPECT_NEAR(anchor_mass(0.5F), 5.0 / 8.0, 1e-12);
  EXPECT_NEAR(anchor_mass(0.75F), 0.75, 1e-7);
  EXPECT_NEAR(anchor_mass(0.999F), 25.0 / 28.0, 1e-7);  // odds 5:3 times the cap's 5
}

TEST(Reference, PositionAndWindowDecideVisibility) {
  Tiny t = two_and_one();
  EXPECT_NEAR(t.run(1).o[0], (10.0 + 5 * 100.0) / 6.0, 1e-12);
  EXPECT_NEAR(t.run(0).o[0], 100.0, 1e-12);
  EXPECT_EQ(t.run(0).lse_context[0], -kInf);
  EXPECT_NEAR(t.run(2, 2).o[0], 30.0, 1e-12);
  EXPECT_NEAR(t.run(2, 1).o[0], 40.0, 1e-12);
}

TEST(Reference, NothingVisibleIsZeroAndMinusInfinity) {
  for (const AnchorMode mode : {AnchorMode::kJoint, AnchorMode::kGated, AnchorMode::kFloored}) {
    Tiny t = two_and_one();
    t.plan.anchor.mode = mode;
    const ReferenceOutput out = t.run(100, 5);
    EXPECT_EQ(out.o[0], 0.0);
    EXPECT_EQ(out.lse_context[0], -kInf);
    EXPECT_EQ(out.lse_anchor[0], -kInf);
    EXPECT_EQ(out.lse_joint[0], -kInf);
    for (const double mass : out.mass) EXPECT_EQ(mass, 0.0);
  }
}

TEST(Reference, GatedEqualsJointWithTheBiasOfTheIdentity) {
  const double lc = 1.7, la = -0.4, g = 0.37;
  const double b = std::log(g / (1 - g)) + lc - la;
  EXPECT_NEAR(anchor_weight(AnchorMode::kGated, lc, la, g, 0),
              anchor_weight(AnchorMode::kJoint, lc, la + b, 0, 0), 1e-12);
}

TEST(Cases, NamesAreUniqueAndPlansWellFormed) {
  std::set<std::string> names;
  for (const auto& spec : testing::attention_cases()) {
    EXPECT_TRUE(names.insert(spec.name).second) << spec.name;
    const auto world = testing::make_world(spec);
    const SequencePlan& plan = world.sequences[0]->plan;
    int next_page = 0;
    for (const Leaf& leaf : plan.leaves) {
      EXPECT_EQ(leaf.first_page, next_page) << spec.name;
      EXPECT_LE(leaf.page_count, kLeafPages) << spec.name;
      next_page += leaf.page_count;
    }
    EXPECT_EQ(next_page, static_cast<int>(plan.pages.size())) << spec.name;
    EXPECT_GE(plan.first_query_pos, 0) << spec.name;
    EXPECT_EQ(plan.pages.back().first_pos + plan.pages.back().rows,
              plan.first_query_pos + plan.query_count)
        << spec.name;
  }
}

}  // namespace
}  // namespace fieldprint
