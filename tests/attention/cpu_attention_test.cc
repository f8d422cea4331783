// The class around the kernels: layout, mean mass, misuse, and random plans.
#include "attention/cpu/cpu_attention.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

#include "attention/cpu/kernel.h"
#include "attention/cpu_harness.h"

namespace fieldprint::testing {
namespace {

TEST(KvLayout, RowsSurviveARoundTripAndStayApart) {
  for (const KvDtype dtype : {KvDtype::kBf16, KvDtype::kF32}) {
    const KvShape shape = {2, 32, dtype};
    std::vector<std::byte> page(kv_page_bytes(shape), std::byte{0xFF});
    std::vector<std::uint16_t> k_want, v_want;
    std::vector<std::vector<float>> k(kPageRows), v(kPageRows);
    for (int row = 0; row < kPageRows; ++row) {
      for (int i = 0; i < 64; ++i) {
        k[static_cast<std::size_t>(row)].push_back(static_cast<float>(row * 64 + i) + 0.013F);
        v[static_cast<std::size_t>(row)].push_back(-static_cast<float>(row * 64 + i) - 0.37F);
      }
      const auto r = static_cast<std::size_t>(row);
      kv_write_row(shape, page.data(), row, k[r].data(), v[r].data());
    }
    for (int g = 0; g < 2; ++g) {
      for (int row = 0; row < 5; ++row) {
        for (int d = 0; d < 32; ++d) {
          const auto i = static_cast<std::size_t>(g * 32 + d);
          k_want.push_back(bf16_from_float(k[static_cast<std::size_t>(row)][i]));
          v_want.push_back(bf16_from_float(v[static_cast<std::size_t>(row)][i]));
        }
      }
    }
    std::vector<std::uint16_t> k_got(k_want.size()), v_got(v_want.size());
    kv_read_rows(shape, page.data(), 5, k_got, v_got);
    EXPECT_EQ(k_got, k_want);
    EXPECT_EQ(v_got, v_want);
    std::vector<std::byte> other(page.size(), std::byte{0});
    kv_write_rows(shape, other.data(), 5, k_got, v_got);
    std::vector<std::uint16_t> k_again(k_want.size()), v_again(v_want.size());
    kv_read_rows(shape, other.data(), 5, k_again, v_again);
    EXPECT_EQ(k_again, k_want);
    EXPECT_EQ(v_again, v_want);
  }
}

TEST(Bf16, RoundsToNearestEven) {
  EXPECT_EQ(round_to_bf16(1.0F + 0x1p-8F), 1.0F);                // tie, even below
  EXPECT_EQ(round_to_bf16(1.0F + 3 * 0x1p-8F), 1.0F + 0x1p-6F);  // tie, even above
  EXPECT_EQ(round_to_bf16(1.0F + 0x1.1p-8F), 1.0F + 0x1p-7F);
  EXPECT_TRUE(std::isinf(round_to_bf16(3.4e38F)));
  EXPECT_TRUE(std::isnan(round_to_bf16(std::nanf("1"))));
}

TEST(CpuAttention, RefusesShapesItCannotRun) {
  const auto code_of = [](AttentionShape shape) {
    CpuAttentionOptions options;
    options.shape = shape;
    options.layers = 1;
    const auto made = CpuAttention::create(options);
    return made ? std::string("none") : made.error().code;
  };
  EXPECT_EQ(code_of({4, 2, 64, 0.1F}), "none");
  EXPECT_EQ(code_of({4, 2, 72, 0.1F}), "attention_shape_unsupported");
  EXPECT_EQ(code_of({4, 3, 64, 0.1F}), "attention_shape_unsupported");
  EXPECT_EQ(code_of({4, 2, 528, 0.1F}), "attention_shape_unsupported");
  EXPECT_EQ(code_of({66, 2, 64, 0.1F}), "attention_shape_unsupported");
  EXPECT_EQ(code_of({4, 2, 64, NAN}), "attention_shape_unsupported");
}

TEST(CpuIsaNames, RoundTripAndUnknownIsAnError) {
  for (const CpuIsa isa : all_cpu_isas()) EXPECT_EQ(*cpu_isa_from_name(cpu_isa_name(isa)), isa);
  EXPECT_EQ(cpu_isa_from_name("mmx").error().code, "attention_isa_unknown");
  EXPECT_TRUE(cpu_isa_available(best_cpu_isa()));
}

// A query row near the edge of fp32's exponent range must still round as bf16 does.
TEST(PackQ, RoundsAsBf16OnEveryIsa) {
  alignas(64) float q[32];
  for (int i = 0; i < 32; ++i)
    q[i] = (i % 2 == 0 ? 1.0F : -1.0F) * (1.0F + 0.0017F * static_cast<float>(i * i));
  q[3] = 1.0F + 0x1p-8F;
  q[5] = std::nanf("1");
  for (const CpuIsa isa : runnable_isas()) {
    const KernelTable* kernel = find_kernel(isa, KvDtype::kBf16);
    alignas(64) std::byte packed[32 * 4];
    kernel->pack_q(q, packed, 32);
    for (int i = 0; i < 32; ++i) {
      float got;
      if (kernel->q_element_bytes == 2) {
        got = float_from_bf16(reinterpret_cast<const std::uint16_t*>(packed)[i]);
      } else {
        got = reinterpret_cast<const float*>(packed)[i];
      }
      if (i == 5) {
        EXPECT_TRUE(std::isnan(got)) << cpu_isa_name(isa);
      } else {
        EXPECT_EQ(got, round_to_bf16(q[i])) << cpu_isa_name(isa) << " at " << i;
      }
    }
  }
}

AttentionCase two_sequences_case(int queries, std::uint64_t seed) {
  AttentionCase c;
  c.context = chat_context(90);
  c.sink_leaf = true;
  c.anchor_rows = 20;
  c.query_count = queries;
  c.seed = seed;
  return c;
}

TEST(CpuAttention, FinishAveragesTheLastQueryOverHeadsAndLayers) {
  const AttentionCase cases[] = {two_sequences_case(3, 1), two_sequences_case(1, 2)};
  const AttentionWorld world = make_world(cases);
  const PageMemory memory(world, KvDtype::kF32);
  const CpuRun run{best_cpu_isa(), KvDtype::kF32, 1};
  const auto attention = make_attention(world.shape, run);
  ASSERT_TRUE(attention->prepare(world.plans(), 1).has_value());
  const auto heads = static_cast<std::size_t>(world.shape.heads);
  std::vector<float> out(world.q.size());
  std::vector<float> mass[kCaseLayers];
  for (int layer = 0; layer < kCaseLayers; ++layer) {
    mass[layer].resize(static_cast<std::size_t>(world.tokens) * heads * kKvClasses);
    CpuLayerArgs args;
    args.layer = layer;
    args.kv = memory.layer(kCaseLayer);  // the same rows; beta differs by layer
    args.q = world.q.data();
    args.out = out.data();
    args.mass = mass[layer].data();
    attention->run(args, 0, 1);
  }
  EXPECT_FALSE(same_bits(mass[0], mass[1]));
  std::vector<float> mean(2 * kKvClasses);
  attention->finish(mean);
  const std::size_t last_token[] = {2, 3};
  for (std::size_t s = 0; s < 2; ++s) {
    for (std::size_t c = 0; c < kKvClasses; ++c) {
      double want = 0.0;
      for (std::size_t h = 0; h < heads; ++h) {
        const std::size_t at = (last_token[s] * heads + h) * kKvClasses + c;
        want += (double{mass[0][at]} + double{mass[1][at]}) / (2.0 * static_cast<double>(heads));
      }
      EXPECT_NEAR(double{mean[s * kKvClasses + c]}, want, 1e-6) << s << " class " << c;
    }
  }
}

TEST(CpuAttentionDeathTest, RunningALayerTwiceIsABug) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const AttentionWorld world = make_world(two_sequences_case(1, 1));
  const PageMemory memory(world, KvDtype::kBf16);
  const auto attention = make_attention(world.shape, {CpuIsa::kScalar, KvDtype::kBf16, 1});
  ASSERT_TRUE(attention->prepare(world.plans(), 1).has_value());
  std::vector<float> out(world.q.size());
  CpuLayerArgs args;
  args.kv = memory.layer(kCaseLayer);
  args.q = world.q.data();
  args.out = out.data();
  attention->run(args, 0, 1);
  EXPECT_DEATH(attention->run(args, 0, 1), "");
}

TEST(CpuAttentionDeathTest, MalformedPlansAreBugs) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const AttentionWorld world = make_world(two_sequences_case(1, 1));
  const auto attention = make_attention(world.shape, {CpuIsa::kScalar, KvDtype::kBf16, 1});
  SequencePlan gap = world.sequences[0]->plan;
  gap.leaves = gap.leaves.subspan(1);
  EXPECT_DEATH((void)attention->prepare({&gap, 1}, 1), "");
  SequencePlan no_gamma = world.sequences[0]->plan;
  no_gamma.anchor.mode = AnchorMode::kGated;
  no_gamma.anchor.gamma = nullptr;
  EXPECT_DEATH((void)attention->prepare({&no_gamma, 1}, 1), "");
}

// Random shapes of plans: segments, windows, anchors and modes the list did not think of.
RC_GTEST_PROP(CpuAttentionProperty, MatchesTheReferenceOnRandomPlans, ()) {
  AttentionCase c;
  c.kv_heads = *rc::gen::inRange(1, 4);
  c.heads = c.kv_heads * *rc::gen::inRange(1, 6);
  c.head_dim = 16 * *rc::gen::inRange(1, 9);
  const int segments = *rc::gen::inRange(1, 9);
  int rows = 0;
  for (int i = 0; i < segments; ++i) {
    c.context.push_back(
        {static_cast<KvClass>(*rc::gen::inRange(0, kKvClasses)), *rc::gen::inRange(1, 90)});
    rows += c.context.back().rows;
  }
  c.sink_leaf = *rc::gen::arbitrary<bool>();
  c.anchor_rows = *rc::gen::inRange(0, 60);
  c.query_count = *rc::gen::inRange(1, std::min(rows, 30) + 1);
  c.mode = static_cast<AnchorMode>(*rc::gen::inRange(0, 3));
  c.beta = static_cast<BetaKind>(*rc::gen::inRange(0, 5));
  c.window = *rc::gen::element(0, 0, 1, 17, 64);
  c.seed = *rc::gen::arbitrary<std::uint64_t>();
  const AttentionWorld world = make_world(c);
  const ReferenceOutput want =
      reference_attention(world.sequences[0]->plan, world.reference_args());
  const CpuRun run{*rc::gen::elementOf(runnable_isas()), KvDtype::kF32, 2};
  const CpuOutput got = run_cpu(world, run);
  for (std::size_t i = 0; i < want.o.size(); ++i) {
    RC_ASSERT(std::abs(want.o[i] - double{got.o[i]}) < 2e-5);
  }
  for (std::size_t i = 0; i < want.mass.size(); ++i) {
    RC_ASSERT(std::abs(want.mass[i] - double{got.mass[i]}) < 2e-5);
  }
}

}  // namespace
}  // namespace fieldprint::testing
