#include "core/metrics.h"

#include <gtest/gtest.h>

#include <limits>
#include <thread>
#include <vector>

namespace fieldprint {
namespace {

TEST(Metrics, PrintsTheTextFormat) {
  MetricRegistry registry;
  registry.counter("b_total", "counts \\ and\nlines", {{"route", "/v1/\"x\"\\"}}).add(3);
  registry.gauge("a_ratio", "a gauge").set(0.1);
  const double bounds[] = {0.5, 2};
  Histogram& histogram = registry.histogram("c_seconds", "a histogram", bounds);
  histogram.observe(0.5);  // on a bound: belongs to it
  histogram.observe(1);
  histogram.observe(7);
  EXPECT_EQ(registry.expose(),
            "# HELP a_ratio a gauge\n"
            "# TYPE a_ratio gauge\n"
            "a_ratio 0.1\n"
            "# HELP b_total counts \\\\ and\\nlines\n"
            "# TYPE b_total counter\n"
            "b_total{route=\"/v1/\\\"x\\\"\\\\\"} 3\n"
            "# HELP c_seconds a histogram\n"
            "# TYPE c_seconds histogram\n"
            "c_seconds_bucket{le=\"0.5\"} 1\n"
            "c_seconds_bucket{le=\"2\"} 2\n"
            "c_seconds_bucket{le=\"+Inf\"} 3\n"
            "c_seconds_sum 8.5\n"
            "c_seconds_count 3\n");
}

TEST(Metrics, SameNameAndLabelsAreOneMetric) {
  MetricRegistry registry;
  Counter& first = registry.counter("x_total", "x", {{"a", "1"}});
  first.add();
  EXPECT_EQ(&first, &registry.counter("x_total", "x", {{"a", "1"}}));
  EXPECT_NE(&first, &registry.counter("x_total", "x", {{"a", "2"}}));
}

TEST(Metrics, RaiseToNeverLowers) {
  Counter counter;
  counter.raise_to(5);
  counter.raise_to(2);
  EXPECT_EQ(counter.value(), 5);
  counter.raise_to(6);
  EXPECT_EQ(counter.value(), 6);
}

TEST(Metrics, UpdatesFromManyThreadsAreNotLost) {
  MetricRegistry registry;
  Counter& counter = registry.counter("n_total", "n");
  const double bounds[] = {1.0};
  Histogram& histogram = registry.histogram("h", "h", bounds);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 5000; ++i) {
        counter.add();
        histogram.observe(2.0);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter.value(), 20000);
  EXPECT_EQ(histogram.count(), 20000U);
  EXPECT_EQ(histogram.bucket(1), 20000U);
  EXPECT_EQ(histogram.sum(), 40000);
}

TEST(Metrics, NumbersReadBackExactly) {
  MetricRegistry registry;
  registry.gauge("g", "g").set(1.0 / 3.0);
  EXPECT_NE(registry.expose().find("g 0.3333333333333333\n"), std::string::npos);
  registry.gauge("g", "g").set(std::numeric_limits<double>::infinity());
  EXPECT_NE(registry.expose().find("g +Inf\n"), std::string::npos);
}

TEST(MetricsDeathTest, AnotherTypeUnderTheSameNameIsABug) {
  MetricRegistry registry;
  registry.counter("x", "x");
  EXPECT_DEATH(registry.gauge("x", "x"), "check failed");
  EXPECT_DEATH(registry.counter("1x", "x"), "check failed");
}

}  // namespace
}  // namespace fieldprint
