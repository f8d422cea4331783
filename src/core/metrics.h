// A small metric registry: counters, gauges and histograms, printed in the
// Prometheus text exposition format 0.0.4.
//
// Thread rule: everything may be called from any thread. Handles stay valid as
// long as the registry. Updates are lock-free; expose() and registration lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fieldprint {

// Label names and values, in the order they are printed.
using MetricLabels = std::vector<std::pair<std::string, std::string>>;

class Counter {  // only grows
 public:
  void add(double amount = 1.0);
  // For totals kept elsewhere: takes the new total, never lowers it.
  void raise_to(double total);
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0.0};
};

class Gauge {
 public:
  void set(double value) { value_.store(value, std::memory_order_relaxed); }
  void add(double amount);
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0.0};
};

class Histogram {
 public:
  // bounds: ascending upper bounds; +Inf is implied.
  explicit Histogram(std::span<const double> bounds);
  void observe(double value);
  std::uint64_t count() const;
  double sum() const { return sum_.load(std::memory_order_relaxed); }
  const std::vector<double>& bounds() const { return bounds_; }
  // Observations in bucket i alone; i == bounds().size() is the +Inf bucket.
  std::uint64_t bucket(std::size_t i) const;

 private:
  std::vector<double> bounds_;
  std::deque<std::atomic<std::uint64_t>> buckets_;
  std::atomic<double> sum_{0.0};
};

class MetricRegistry {
 public:
  MetricRegistry();
  ~MetricRegistry();
  MetricRegistry(const MetricRegistry&) = delete;
  MetricRegistry& operator=(const MetricRegistry&) = delete;

  // The metric of that name and labels, made on first use. A name that is not
  // [a-zA-Z_:][a-zA-Z0-9_:]*, or that was registered as another type, is a bug.
  Counter& counter(std::string_view name, std::string_view help, const MetricLabels& labels = {});
  Gauge& gauge(std::string_view name, std::string_view help, const MetricLabels& labels = {});
  Histogram& histogram(std::string_view name, std::string_view help, std::span<const double> bounds,
                       const MetricLabels& labels = {});

  // All metrics, families in order of their names.
  std::string expose() const;

 private:
  struct Family;
  Family& family(std::string_view name, std::string_view help, int type);

  mutable std::mutex mutex_;
  std::map<std::string, std::unique_ptr<Family>, std::less<>> families_;
};

// Bounds in seconds for latencies from 1 ms to 2 min.
std::span<const double> latency_bounds_seconds();

}  // namespace fieldprint
