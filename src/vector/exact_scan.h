// Nearest vectors by looking at all of them: exact, deterministic, enough up to some ten thousand.
//
// Scores are float32 inner products, summed in 16 lanes in a fixed order (element i goes to lane
// i mod 16, the lanes are added pairwise), so the same rows and query give the same bits on every
// machine and whatever the order in which rows were put in.
//
// Thread rule: const methods may run at once in any number of threads; put() and erase() alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <unordered_map>
#include <vector>

#include "core/error.h"

namespace fieldprint {

inline constexpr std::int32_t kVectorMaxDims = 4096;

enum class VectorMetric : std::uint8_t {
  kInnerProduct,  // rows as they are: for unit vectors the cosine
  kCosine,        // rows and query are brought to length 1
};

struct VectorHit {
  std::uint64_t id = 0;
  float score = 0;
};

class ExactScan {
 public:
  // dims: 1..kVectorMaxDims. max_rows: beyond it put() of a new id fails. Errors: invalid_options.
  static Result<ExactScan> create(std::int32_t dims, VectorMetric metric, std::size_t max_rows);

  // Adds the row, or replaces the one of that id. Errors: vector_invalid (another size, a value
  // that is not finite, no direction under kCosine), vector_store_full.
  Status put(std::uint64_t id, std::span<const float> row);
  bool erase(std::uint64_t id);  // false: it was not there
  // The row as it is kept, [dims]; empty if there is none. Valid until the next put or erase.
  std::span<const float> row(std::uint64_t id) const;

  // The k best rows, best first; of equal scores the smaller id first. accept: only ids for which
  // it returns true; empty: all. Errors: vector_invalid.
  Result<std::vector<VectorHit>> search(
      std::span<const float> query, std::size_t k,
      const std::function<bool(std::uint64_t)>& accept = {}) const;

  std::size_t size() const { return ids_.size(); }
  std::int32_t dims() const { return dims_; }

 private:
  ExactScan(std::int32_t dims, VectorMetric metric, std::size_t max_rows);
  // The row as it is stored: of length 1 under kCosine, padded with zeros.
  Result<std::vector<float>> prepare(std::span<const float> row) const;

  std::int32_t dims_;
  VectorMetric metric_;
  std::size_t max_rows_;
  std::size_t stride_;                                 // dims_ rounded up to whole lanes
  std::vector<float> rows_;                            // [size()][stride_]
  std::vector<std::uint64_t> ids_;                     // of each row
  std::unordered_map<std::uint64_t, std::size_t> at_;  // id -> row
};

}  // namespace fieldprint
