#include "supervisor/pacemaker.h"

#include <algorithm>
#include <cmath>

#include "supervisor/coherence_fit.h"
#include "supervisor/states.h"

namespace fieldprint::test {
namespace {

constexpr std::size_t kDims = 16;

std::vector<double> axis(std::size_t which) {
  std::vector<double> v(kDims, 0.0);
  v[which] = 1;
  return v;
}

// Unit vectors around `centre`, one after another.
std::vector<double> unit_vectors(std::mt19937_64& rng, std::span<const double> centre,
                                 std::size_t count) {
  std::normal_distribution<double> normal;
  std::vector<double> out;
  for (std::size_t n = 0; n < count; ++n) {
    std::vector<double> x(centre.begin(), centre.end());
    double square = 0;
    for (double& value : x) {
      value += 0.3 * normal(rng);
      square += value * value;
    }
    for (const double value : x) out.push_back(value / std::sqrt(square));
  }
  return out;
}

double mean_of(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return sum / static_cast<double>(values.size());
}
double deviation_of(const std::vector<double>& values) {
  const double mean = mean_of(values);
  double sum = 0;
  for (const double v : values) sum += (v - mean) * (v - mean);
  return std::sqrt(sum / static_cast<double>(values.size() - 1));
}

// Against the definition: the mean over all ordered pairs.
TEST(OrderParametersTest, AreMeansOverPairs) {
  std::mt19937_64 rng(3);
  const auto a = axis(2);
  const auto x = unit_vectors(rng, a, 7);
  double r2 = 0;
  double shared = 0;
  double rho = 0;
  const auto dot = [&](const double* p, const double* q) {
    double sum = 0;
    for (std::size_t d = 0; d < kDims; ++d) sum += p[d] * q[d];
    return sum;
  };
  for (std::size_t i = 0; i < 7; ++i) {
    const double* p = x.data() + i * kDims;
    rho += dot(p, a.data()) / 7;
    for (std::size_t j = 0; j < 7; ++j) {
      if (i == j) continue;
      const double* q = x.data() + j * kDims;
      r2 += dot(p, q) / 42;
      shared += dot(p, a.data()) * dot(q, a.data()) / 42;
    }
  }
  const OrderParameters order = order_parameters(x, a);
  EXPECT_EQ(order.agents, 7U);
  EXPECT_NEAR(order.rho.value(), rho, 1e-12);
  EXPECT_NEAR(order.r2.value(), r2, 1e-12);
  EXPECT_NEAR(order.shared.value(), shared, 1e-12);
  EXPECT_NEAR(order.excess.value(), r2 - shared, 1e-12);
}

TEST(OrderParametersTest, WhatIsNotDefinedIsAbsent) {
  const auto a = axis(0);
  EXPECT_FALSE(order_parameters({}, a).rho);
  const OrderParameters one = order_parameters(a, a);
  EXPECT_EQ(one.rho, 1);
  EXPECT_FALSE(one.r2 || one.rho_error || one.excess);
  std::vector<double> two = a;
  const auto b = axis(1);
  two.insert(two.end(), b.begin(), b.end());
  EXPECT_EQ(order_parameters(two, a).r2, 0);
  EXPECT_FALSE(order_parameters(two, a).r2_error);
}

struct Simulated {
  std::vector<double> plain, r2, rho, excess, r2_error, rho_error, excess_error;
};
// 600 draws of agents around `centre`, judged against `reference`.
Simulated simulate(std::span<const double> centre, std::span<const double> reference,
                   std::size_t agents = 5) {
  std::mt19937_64 rng(11);
  Simulated out;
  for (int run = 0; run < 600; ++run) {
    const auto x = unit_vectors(rng, centre, agents);
    const OrderParameters order = order_parameters(x, reference);
    double plain = 0;
    for (std::size_t d = 0; d < kDims; ++d) {
      double mean = 0;
      for (std::size_t i = 0; i < agents; ++i)
        mean += x[i * kDims + d] / static_cast<double>(agents);
      plain += mean * mean;
    }
    out.plain.push_back(plain);
    out.r2.push_back(*order.r2);
    out.rho.push_back(*order.rho);
    out.excess.push_back(*order.excess);
    out.r2_error.push_back(*order.r2_error);
    out.rho_error.push_back(*order.rho_error);
    out.excess_error.push_back(*order.excess_error);
  }
  return out;
}

// Agents without anything in common: r2 is 0, where plain r^2 is 1/N.
TEST(OrderParametersTest, IndependentAgentsHaveNone) {
  const std::vector<double> nowhere(kDims, 0.0);
  const Simulated s = simulate(nowhere, axis(0));
  EXPECT_NEAR(mean_of(s.plain), 0.2, 0.01);
  EXPECT_NEAR(mean_of(s.r2), 0, 4 * deviation_of(s.r2) / std::sqrt(600.0));
  EXPECT_NEAR(mean_of(s.rho), 0, 4 * deviation_of(s.rho) / std::sqrt(600.0));
}

// Agents that share the anchor and nothing else: r2 is rho^2, and nothing is in excess.
TEST(OrderParametersTest, TheAnchorAloneLeavesNoExcess) {
  const Simulated s = simulate(axis(4), axis(4));
  const double rho = mean_of(s.rho);
  EXPECT_GT(rho, 0.5);
  EXPECT_NEAR(mean_of(s.r2), rho * rho, 0.005);
  EXPECT_NEAR(mean_of(s.excess), 0, 4 * deviation_of(s.excess) / std::sqrt(600.0));
}

// Agents that agree on something else: high r2, no rho, all of it in excess.
TEST(OrderParametersTest, EchoingIsAgreementWithoutTheAnchor) {
  const Simulated s = simulate(axis(4), axis(5));
  EXPECT_GT(mean_of(s.r2), 0.3);
  EXPECT_NEAR(mean_of(s.rho), 0, 0.01);
  EXPECT_NEAR(mean_of(s.excess), mean_of(s.r2), 0.01);
}

double root_mean_square(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v * v;
  return std::sqrt(sum / static_cast<double>(values.size()));
}

// The stated errors are as large as the scatter over simulations; that of the excess, which is of
// second order in what is common, is too large for few agents and never too small.
TEST(OrderParametersTest, ErrorsAreAsLargeAsStated) {
  std::vector<double> centre = axis(4);
  centre[6] = 0.5;
  const Simulated few = simulate(centre, axis(4), 5);
  EXPECT_NEAR(root_mean_square(few.rho_error) / deviation_of(few.rho), 1, 0.1);
  EXPECT_NEAR(root_mean_square(few.r2_error) / deviation_of(few.r2), 1.05, 0.15);
  EXPECT_NEAR(root_mean_square(few.excess_error) / deviation_of(few.excess), 1.25, 0.25);
  const Simulated many = simulate(centre, axis(4), 40);
  EXPECT_NEAR(root_mean_square(many.rho_error) / deviation_of(many.rho), 1, 0.1);
  EXPECT_NEAR(root_mean_square(many.r2_error) / deviation_of(many.r2), 1, 0.1);
  EXPECT_NEAR(root_mean_square(many.excess_error) / deviation_of(many.excess), 1.05, 0.15);
}

Coherence coherence(std::uint64_t seed = 1) {
  CoherenceFitOptions options;
  options.dims = static_cast<std::int32_t>(kDims);
  const auto away = gaussian_states(seed, 200 * 32);
  auto near = gaussian_states(seed + 1, 200 * 32);
  for (float& x : near) x += 0.5F;
  return must(Coherence::create(must(fit_coherence(32, away, near, options))));
}

std::vector<float> direction(std::size_t which) {
  std::vector<float> v(kDims, 0.0F);
  v[which] = 1;
  return v;
}

SegmentReading reading(std::uint64_t first, std::size_t which) {
  SegmentReading r;
  r.first_token = first;
  r.end_token = first + 16;
  r.measured = true;
  r.angle = 1;
  r.direction = direction(which);
  return r;
}

SupervisionReport report_of(std::vector<SegmentReading> timeline) {
  SupervisionReport report;
  report.binding.anchor_digest.fill(7);
  report.timeline = std::move(timeline);
  return report;
}

TEST(PacemakerTest, TakesVerifiedStatesOnly) {
  const Coherence c = coherence();
  Pacemaker pacemaker;
  SupervisionReport report = report_of({reading(0, 0), reading(16, 1), reading(32, 2)});
  report.timeline[1].cause = BreachCause::kLimit;
  report.timeline.push_back(reading(48, 3));
  report.timeline[3].measured = false;
  report.timeline.push_back(reading(64, 3));
  report.timeline[4].direction.push_back(0);
  EXPECT_EQ(pacemaker.add("key", "ann", c, report), 2U);
  // A rollback to token 16 after these readings: the third was taken back, its successor stands.
  RollbackRecord rollback;
  rollback.to_token = 16;
  report.rollbacks = {rollback};
  SegmentReading after = reading(16, 5);
  after.generation = 1;
  report.timeline.push_back(after);
  EXPECT_EQ(pacemaker.add("key", "bob", c, report), 2U);
  report.unlogged = 1;
  EXPECT_EQ(pacemaker.add("key", "cyd", c, report), 0U);
  const auto out = pacemaker.report("key");
  ASSERT_EQ(out.size(), 1U);
  EXPECT_EQ(out[0].anchor, "sha256:" + std::string("07070707070707070707070707070707") +
                               "07070707070707070707070707070707");
  EXPECT_EQ(out[0].order.agents, 2U);
  EXPECT_EQ(out[0].order.states, 4U);
  // Means (e0+e2)/2 and (e0+e5)/2.
  EXPECT_NEAR(out[0].order.r2.value(), 0.25, 1e-6);
  ASSERT_EQ(out[0].agents.size(), 2U);
  EXPECT_EQ(out[0].agents[0].agent, "ann");
  ASSERT_TRUE(out[0].agents[0].nearest);
  EXPECT_EQ(out[0].agents[0].nearest->agent, "bob");
}

TEST(PacemakerTest, OwnersDoNotSeeEachOther) {
  const Coherence c = coherence();
  Pacemaker pacemaker;
  pacemaker.add("key 0", "ann", c, report_of({reading(0, 0)}));
  pacemaker.add("key 1", "ann", c, report_of({reading(0, 0)}));
  const auto mine = pacemaker.report("key 0");
  ASSERT_EQ(mine.size(), 1U);
  EXPECT_EQ(mine[0].agents.size(), 1U);
  EXPECT_FALSE(mine[0].agents[0].nearest);
  EXPECT_FALSE(mine[0].order.r2);
  const auto all = pacemaker.report(std::nullopt);
  ASSERT_EQ(all.size(), 1U);
  EXPECT_TRUE(all[0].agents.empty());
  EXPECT_NEAR(all[0].order.r2.value(), 1, 1e-6);
  pacemaker.forget("key 0", "ann");
  EXPECT_TRUE(pacemaker.report("key 0").empty());
  EXPECT_EQ(pacemaker.report("key 1").size(), 1U);
}

TEST(PacemakerTest, IsBoundedAndDropsTheOldest) {
  const Coherence first = coherence(1);
  const Coherence second = coherence(5);
  Pacemaker pacemaker({.anchors = 1, .agents = 2, .states = 3});
  pacemaker.add("k", "ann", first,
                report_of({reading(0, 0), reading(16, 1), reading(32, 1), reading(48, 1)}));
  pacemaker.add("k", "bob", first, report_of({reading(0, 2)}));
  auto out = pacemaker.report("k");
  ASSERT_EQ(out.size(), 1U);
  EXPECT_EQ(out[0].agents[0].states, 3U);  // the one along axis 0 went
  EXPECT_NEAR(out[0].agents[0].rho, double{first.recipe().reference[1]}, 1e-6);
  pacemaker.add("k", "cyd", first, report_of({reading(0, 3)}));
  out = pacemaker.report("k");
  ASSERT_EQ(out[0].agents.size(), 2U);
  EXPECT_EQ(out[0].agents[0].agent, "bob");
  pacemaker.add("k", "dan", second, report_of({reading(0, 3)}));
  out = pacemaker.report("k");
  ASSERT_EQ(out.size(), 1U);
  EXPECT_EQ(out[0].agents[0].agent, "dan");
}

}  // namespace
}  // namespace fieldprint::test
