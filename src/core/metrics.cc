#include "core/metrics.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "core/check.h"

namespace fieldprint {
namespace {

constexpr int kCounterType = 0;
constexpr int kGaugeType = 1;
constexpr int kHistogramType = 2;

// std::atomic<double>::fetch_add exists in C++20 but compiles to the same loop.
void atomic_add(std::atomic<double>& target, double amount) {
  double seen = target.load(std::memory_order_relaxed);
  while (!target.compare_exchange_weak(seen, seen + amount, std::memory_order_relaxed)) {
  }
}

bool valid_name(std::string_view name) {
  if (name.empty()) return false;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':';
    if (!letter && !(i > 0 && c >= '0' && c <= '9')) return false;
  }
  return true;
}

void append_escaped(std::string& out, std::string_view text, bool quotes) {
  for (const char c : text) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '"' && quotes) {
      out += "\\\"";
    } else {
      out += c;
    }
  }
}

// `{a="b",c="d"}`, empty for no labels. `extra` is a further, already printed pair.
std::string print_labels(const MetricLabels& labels, std::string_view extra = {}) {
  if (labels.empty() && extra.empty()) return {};
  std::string out = "{";
  for (const auto& [name, value] : labels) {
    if (out.size() > 1) out += ',';
    out += name;
    out += "=\"";
    append_escaped(out, value, true);
    out += '"';
  }
  if (!extra.empty()) {
    if (out.size() > 1) out += ',';
    out += extra;
  }
  out += '}';
  return out;
}

// The shortest text that reads back as the same number.
std::string print_number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  char text[40];
  for (int digits = 1; digits <= 17; ++digits) {
    std::snprintf(text, sizeof(text), "%.*g", digits, value);
    if (std::strtod(text, nullptr) == value) break;
  }
  return text;
}

void append_sample(std::string& out, std::string_view name, std::string_view labels,
                   const std::string& value) {
  out += name;
  out += labels;
  out += ' ';
  out += value;
  out += '\n';
}

}  // namespace

void Counter::add(double amount) {
  FP_CHECK(amount >= 0);
  atomic_add(value_, amount);
}

void Counter::raise_to(double total) {
  double seen = value_.load(std::memory_order_relaxed);
  while (seen < total && !value_.compare_exchange_weak(seen, total, std::memory_order_relaxed)) {
  }
}

void Gauge::add(double amount) { atomic_add(value_, amount); }

Histogram::Histogram(std::span<const double> bounds) : bounds_(bounds.begin(), bounds.end()) {
  for (std::size_t i = 1; i < bounds_.size(); ++i) FP_CHECK(bounds_[i - 1] < bounds_[i]);
  for (std::size_t i = 0; i <= bounds_.size(); ++i) buckets_.emplace_back(0);
}

void Histogram::observe(double value) {
  std::size_t i = 0;
  while (i < bounds_.size() && !(value <= bounds_[i])) ++i;
  buckets_[i].fetch_add(1, std::memory_order_relaxed);
  atomic_add(sum_, value);
}

std::uint64_t Histogram::count() const {
  std::uint64_t total = 0;
  for (const auto& bucket : buckets_) total += bucket.load(std::memory_order_relaxed);
  return total;
}

std::uint64_t Histogram::bucket(std::size_t i) const {
  FP_CHECK(i < buckets_.size());
  return buckets_[i].load(std::memory_order_relaxed);
}

// One name: its help, its type and a metric per label set. std::map keeps
// addresses stable and the output in a fixed order.
struct MetricRegistry::Family {
  std::string help;
  int type = kCounterType;
  std::map<MetricLabels, std::unique_ptr<Counter>> counters;
  std::map<MetricLabels, std::unique_ptr<Gauge>> gauges;
  std::map<MetricLabels, std::unique_ptr<Histogram>> histograms;

  void print(const std::string& name, std::string& out) const;
};

namespace {

void print_histogram(const std::string& name, const MetricLabels& labels,
                     const Histogram& histogram, std::string& out) {
  std::uint64_t total = 0;
  for (std::size_t i = 0; i <= histogram.bounds().size(); ++i) {
    total += histogram.bucket(i);
    const bool last = i == histogram.bounds().size();
    const std::string le = last ? "+Inf" : print_number(histogram.bounds()[i]);
    append_sample(out, name + "_bucket", print_labels(labels, "le=\"" + le + "\""),
                  std::to_string(total));
  }
  append_sample(out, name + "_sum", print_labels(labels), print_number(histogram.sum()));
  append_sample(out, name + "_count", print_labels(labels), std::to_string(total));
}

}  // namespace

void MetricRegistry::Family::print(const std::string& name, std::string& out) const {
  static constexpr const char* kTypes[] = {"counter", "gauge", "histogram"};
  out += "# HELP " + name + ' ';
  append_escaped(out, help, false);
  out += "\n# TYPE " + name + ' ' + kTypes[type] + '\n';
  for (const auto& [labels, counter] : counters) {
    append_sample(out, name, print_labels(labels), print_number(counter->value()));
  }
  for (const auto& [labels, gauge] : gauges) {
    append_sample(out, name, print_labels(labels), print_number(gauge->value()));
  }
  for (const auto& [labels, histogram] : histograms) {
    print_histogram(name, labels, *histogram, out);
  }
}

MetricRegistry::MetricRegistry() = default;
MetricRegistry::~MetricRegistry() = default;

MetricRegistry::Family& MetricRegistry::family(std::string_view name, std::string_view help,
                                               int type) {
  FP_CHECK(valid_name(name));
  auto it = families_.find(name);
  if (it == families_.end()) {
    it = families_.emplace(std::string(name), std::make_unique<Family>()).first;
    it->second->help = help;
    it->second->type = type;
  }
  FP_CHECK(it->second->type == type);
  return *it->second;
}

Counter& MetricRegistry::counter(std::string_view name, std::string_view help,
                                 const MetricLabels& labels) {
  const std::lock_guard lock(mutex_);
  auto& slot = family(name, help, kCounterType).counters[labels];
  if (!slot) slot = std::make_unique<Counter>();
  return *slot;
}

Gauge& MetricRegistry::gauge(std::string_view name, std::string_view help,
                             const MetricLabels& labels) {
  const std::lock_guard lock(mutex_);
  auto& slot = family(name, help, kGaugeType).gauges[labels];
  if (!slot) slot = std::make_unique<Gauge>();
  return *slot;
}

Histogram& MetricRegistry::histogram(std::string_view name, std::string_view help,
                                     std::span<const double> bounds, const MetricLabels& labels) {
  const std::lock_guard lock(mutex_);
  auto& slot = family(name, help, kHistogramType).histograms[labels];
  if (!slot) slot = std::make_unique<Histogram>(bounds);
  return *slot;
}

std::string MetricRegistry::expose() const {
  const std::lock_guard lock(mutex_);
  std::string out;
  for (const auto& [name, family] : families_) family->print(name, out);
  return out;
}

std::span<const double> latency_bounds_seconds() {
  static constexpr double kBounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                       0.5,   1,      2.5,   5,    10,    30,   60,  120};
  return kBounds;
}

}  // namespace fieldprint
