// Every CPU kernel against the fp64 reference, over the shared list of cases.
#include <gtest/gtest.h>

#include <cmath>
#include <iostream>

#include "attention/cpu_harness.h"

namespace fieldprint::testing {
namespace {

double max_error(std::span<const double> expected, std::span<const double> got) {
  double worst = 0.0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    worst = std::max(worst, std::abs(expected[i] - got[i]));
  }
  return worst;
}

double max_error(std::span<const double> expected, std::span<const float> got) {
  double worst = expected.size() == got.size() ? 0.0 : INFINITY;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double d = std::abs(expected[i] - double{got[i]});
    worst = d <= worst ? worst : d;  // NaN becomes the worst
  }
  return worst;
}

// Q and K of the cases are exact in bf16 and l sums fp32 numerators, so rounding of P
// does not touch the log-sum-exp: the fp32 bound holds for bf16 pages as well. What
// differs is fp32 summation order over head_dim, covered by the relative part.
void expect_lse(const std::vector<double>& expected, const std::vector<float>& got,
                const std::string& what) {
  ASSERT_EQ(expected.size(), got.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (std::isinf(expected[i])) {
      ASSERT_EQ(double{got[i]}, expected[i]) << what << " at " << i;
    } else {
      ASSERT_NEAR(double{got[i]}, expected[i], 1e-4 + 1e-6 * std::abs(expected[i]))
          << what << " at " << i;
    }
  }
}

void expect_mass(const std::vector<double>& expected, const CpuOutput& got, double tolerance) {
  ASSERT_EQ(expected.size(), got.mass.size());
  for (std::size_t i = 0; i < expected.size(); i += kKvClasses) {
    double sum = 0.0, expected_sum = 0.0;
    for (std::size_t c = 0; c < kKvClasses; ++c) {
      ASSERT_NEAR(expected[i + c], double{got.mass[i + c]}, tolerance) << i << " class " << c;
      sum += double{got.mass[i + c]};
      expected_sum += expected[i + c];
    }
    ASSERT_NEAR(sum, expected_sum < 0.5 ? 0.0 : 1.0, 1e-6);
  }
}

void expect_matches(const AttentionWorld& world, const ReferenceOutput& exact,
                    const ReferenceOutput& naive, const CpuRun& run) {
  const CpuOutput got = run_cpu(world, run);
  // FlashAttention's rule: at most twice as wrong as the obvious bf16 program. With f32
  // pages only fp32 rounding is left.
  const double allowed =
      run.dtype == KvDtype::kF32 ? 2e-5 : 2.0 * max_error(exact.o, std::span(naive.o)) + 1e-5;
  EXPECT_LE(max_error(exact.o, std::span<const float>(got.o)), allowed);
  expect_lse(exact.lse_context, got.lse_context, "lse_context");
  expect_lse(exact.lse_anchor, got.lse_anchor, "lse_anchor");
  expect_lse(exact.lse_joint, got.lse_joint, "lse_joint");
  expect_mass(exact.mass, got, 2e-5);
}

class CpuReference : public ::testing::TestWithParam<AttentionCase> {};

TEST_P(CpuReference, EveryIsaMatches) {
  const AttentionWorld world = make_world(GetParam());
  const SequencePlan& plan = world.sequences[0]->plan;
  const ReferenceOutput exact = reference_attention(plan, world.reference_args());
  const ReferenceOutput naive =
      reference_attention(plan, world.reference_args(ReferenceRounding::kNaiveBf16));
  for (const CpuIsa isa : runnable_isas()) {
    for (const KvDtype dtype : {KvDtype::kBf16, KvDtype::kF32}) {
      SCOPED_TRACE(isa_label(isa) + (dtype == KvDtype::kBf16 ? " bf16" : " f32"));
      expect_matches(world, exact, naive, {isa, dtype, 2});
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, CpuReference, ::testing::ValuesIn(attention_cases()),
                         [](const auto& param) { return param.param.name; });

// One test per ISA, so that a missing one is reported as skipped by name.
class CpuIsaPresent : public ::testing::TestWithParam<CpuIsa> {};

TEST_P(CpuIsaPresent, RunsHere) {
  if (!cpu_isa_available(GetParam())) {
    GTEST_SKIP() << "NOT TESTED: this machine or build has no " << cpu_isa_name(GetParam());
  }
  const CpuRun run{GetParam(), KvDtype::kBf16, 1};
  EXPECT_EQ(make_attention({4, 2, 64, 0.125F}, run)->isa(), GetParam());
}

INSTANTIATE_TEST_SUITE_P(All, CpuIsaPresent,
                         ::testing::ValuesIn(all_cpu_isas().begin(), all_cpu_isas().end()),
                         [](const auto& param) { return isa_label(param.param); });

}  // namespace
}  // namespace fieldprint::testing
