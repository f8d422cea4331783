#include "vector/exact_scan.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

namespace fieldprint {
namespace {

constexpr std::size_t kLanes = 16;

// size: a multiple of kLanes. The lanes are what lets a compiler vectorise the sum without
// changing its order.
float inner_product(const float* a, const float* b, std::size_t size) {
  std::array<float, kLanes> sums{};
  for (std::size_t i = 0; i < size; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  }
  for (std::size_t half = kLanes / 2; half > 0; half /= 2) {
    for (std::size_t lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
  }
  return sums[0];
}

bool better(const VectorHit& a, const VectorHit& b) {
  return a.score != b.score ? a.score > b.score : a.id < b.id;
}

tl::unexpected<Error> invalid(const std::string& what) {
  return fail(ErrorKind::kInvalid, "vector_invalid", "a vector " + what);
}

}  // namespace

ExactScan::ExactScan(std::int32_t dims, VectorMetric metric, std::size_t max_rows)
    : dims_(dims),
      metric_(metric),
      max_rows_(max_rows),
      stride_((static_cast<std::size_t>(dims) + kLanes - 1) / kLanes * kLanes) {}

Result<ExactScan> ExactScan::create(std::int32_t dims, VectorMetric metric, std::size_t max_rows) {
  if (dims < 1 || dims > kVectorMaxDims) {
    return fail(ErrorKind::kInvalid, "invalid_options",
                "vectors have 1 to " + std::to_string(kVectorMaxDims) + " dimensions", "dims");
  }
  return ExactScan(dims, metric, max_rows);
}

Result<std::vector<float>> ExactScan::prepare(std::span<const float> row) const {
  if (row.size() != static_cast<std::size_t>(dims_)) {
    return invalid("has " + std::to_string(row.size()) + " dimensions instead of " +
                   std::to_string(dims_));
  }
  if (!std::all_of(row.begin(), row.end(), [](float x) { return std::isfinite(x); })) {
    return invalid("holds a value that is not finite");
  }
  std::vector<float> stored(row.begin(), row.end());
  if (metric_ == VectorMetric::kCosine) {
    double square = 0;  // of floats: can neither overflow nor vanish
    for (const float x : stored) square += double{x} * double{x};
    if (square == 0) return invalid("of zeros has no direction");
    const double length = std::sqrt(square);
    for (float& x : stored) x = static_cast<float>(x / length);
  }
  stored.resize(stride_, 0.0F);
  return stored;
}

Status ExactScan::put(std::uint64_t id, std::span<const float> row) {
  FP_ASSIGN(const std::vector<float> stored, prepare(row));
  const auto known = at_.find(id);
  if (known != at_.end()) {
    std::copy(stored.begin(), stored.end(),
              rows_.begin() + static_cast<std::ptrdiff_t>(known->second * stride_));
    return {};
  }
  if (ids_.size() >= max_rows_) {
    return fail(ErrorKind::kExhausted, "vector_store_full",
                "the store holds its " + std::to_string(max_rows_) + " vectors already");
  }
  at_.emplace(id, ids_.size());
  ids_.push_back(id);
  rows_.insert(rows_.end(), stored.begin(), stored.end());
  return {};
}

bool ExactScan::erase(std::uint64_t id) {
  const auto found = at_.find(id);
  if (found == at_.end()) return false;
  const std::size_t row = found->second;
  const std::size_t last = ids_.size() - 1;
  at_.erase(found);
  if (row != last) {  // the last row takes its place: results do not depend on the order of rows
    const auto from = rows_.begin() + static_cast<std::ptrdiff_t>(last * stride_);
    std::copy(from, rows_.end(), rows_.begin() + static_cast<std::ptrdiff_t>(row * stride_));
    ids_[row] = ids_[last];
    at_[ids_[row]] = row;
  }
  ids_.pop_back();
  rows_.resize(last * stride_);
  return true;
}

std::span<const float> ExactScan::row(std::uint64_t id) const {
  const auto found = at_.find(id);
  if (found == at_.end()) return {};
  return std::span(rows_).subspan(found->second * stride_, static_cast<std::size_t>(dims_));
}

Result<std::vector<VectorHit>> ExactScan::search(
    std::span<const float> query, std::size_t k,
    const std::function<bool(std::uint64_t)>& accept) const {
  FP_ASSIGN(const std::vector<float> wanted, prepare(query));
  std::vector<VectorHit> heap;  // the worst of the best k in front
  if (k == 0) return heap;
  for (std::size_t row = 0; row < ids_.size(); ++row) {
    if (accept && !accept(ids_[row])) continue;
    const VectorHit hit{ids_[row],
                        inner_product(rows_.data() + row * stride_, wanted.data(), stride_)};
    if (heap.size() == k) {
      if (!better(hit, heap.front())) continue;
      std::pop_heap(heap.begin(), heap.end(), better);
      heap.pop_back();
    }
    heap.push_back(hit);
    std::push_heap(heap.begin(), heap.end(), better);
  }
  std::sort_heap(heap.begin(), heap.end(), better);
  return heap;
}

}  // namespace fieldprint
