#include "vector/exact_scan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>

namespace fieldprint {
namespace {

using Rows = std::map<std::uint64_t, std::vector<float>>;

ExactScan make(std::int32_t dims, VectorMetric metric, std::size_t max_rows = 1000) {
  return ExactScan::create(dims, metric, max_rows).value();
}

// Small whole numbers: sums and products are exact, so ties are real ones.
std::vector<float> whole_numbers(std::mt19937_64& rng, std::int32_t dims, int limit) {
  std::uniform_int_distribution<int> draw(-limit, limit);
  std::vector<float> out;
  for (std::int32_t i = 0; i < dims; ++i) out.push_back(static_cast<float>(draw(rng)));
  return out;
}

std::vector<std::uint64_t> naive(const Rows& rows, const std::vector<float>& query, std::size_t k) {
  std::vector<std::pair<double, std::uint64_t>> scored;
  for (const auto& [id, row] : rows) {
    double sum = 0;
    for (std::size_t i = 0; i < row.size(); ++i) sum += double{row[i]} * double{query[i]};
    scored.emplace_back(-sum, id);
  }
  std::sort(scored.begin(), scored.end());
  scored.resize(std::min(k, scored.size()));
  std::vector<std::uint64_t> ids;
  for (const auto& [score, id] : scored) ids.push_back(id);
  return ids;
}

std::vector<std::uint64_t> ids_of(const std::vector<VectorHit>& hits) {
  std::vector<std::uint64_t> ids;
  for (const VectorHit& hit : hits) ids.push_back(hit.id);
  return ids;
}

// Random puts, replacements and erasures, many ties; every search equals the naive one.
TEST(ExactScan, EqualsTheNaiveScanWithTies) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    std::mt19937_64 rng(seed);
    const auto dims = static_cast<std::int32_t>(1 + rng() % 40);
    ExactScan scan = make(dims, VectorMetric::kInnerProduct);
    Rows rows;
    for (int step = 0; step < 300; ++step) {
      const std::uint64_t id = rng() % 60;
      if (rng() % 3 == 0) {
        EXPECT_EQ(scan.erase(id), rows.erase(id) == 1);
      } else {
        rows[id] = whole_numbers(rng, dims, 1);
        ASSERT_TRUE(scan.put(id, rows[id]));
      }
      ASSERT_EQ(scan.size(), rows.size());
      const auto query = whole_numbers(rng, dims, 1);
      const std::size_t k = rng() % 70;
      const auto hits = scan.search(query, k);
      ASSERT_TRUE(hits.has_value());
      ASSERT_EQ(ids_of(*hits), naive(rows, query, k)) << "seed " << seed << " step " << step;
    }
  }
}

TEST(ExactScan, CosineForgetsLengths) {
  ExactScan scan = make(3, VectorMetric::kCosine);
  ASSERT_TRUE(scan.put(1, std::vector<float>{1e-30F, 0, 0}));
  ASSERT_TRUE(scan.put(2, std::vector<float>{1e30F, 1e30F, 0}));
  ASSERT_TRUE(scan.put(3, std::vector<float>{-5, 0, 0}));
  const auto hits = *scan.search(std::vector<float>{7, 0, 0}, 9);
  ASSERT_EQ(ids_of(hits), (std::vector<std::uint64_t>{1, 2, 3}));
  EXPECT_FLOAT_EQ(hits[0].score, 1);
  EXPECT_FLOAT_EQ(hits[1].score, std::sqrt(0.5F));
  EXPECT_FLOAT_EQ(hits[2].score, -1);
}

// The bits of a score depend neither on the history of the store nor on the row's place.
TEST(ExactScan, ScoresDoNotDependOnTheOrderOfRows) {
  constexpr std::int32_t kDims = 67;
  std::mt19937_64 rng(5);
  std::normal_distribution<float> normal;
  Rows rows;
  for (std::uint64_t id = 0; id < 50; ++id) {
    for (std::int32_t i = 0; i < kDims; ++i) rows[id].push_back(normal(rng));
  }
  ExactScan forward = make(kDims, VectorMetric::kCosine);
  ExactScan backward = make(kDims, VectorMetric::kCosine);
  for (auto it = rows.begin(); it != rows.end(); ++it)
    ASSERT_TRUE(forward.put(it->first, it->second));
  for (auto it = rows.rbegin(); it != rows.rend(); ++it)
    ASSERT_TRUE(backward.put(it->first, it->second));
  ASSERT_TRUE(backward.put(99, rows[0]));
  ASSERT_TRUE(backward.erase(99));
  const auto a = *forward.search(rows[7], 50);
  const auto b = *backward.search(rows[7], 50);
  ASSERT_EQ(ids_of(a), ids_of(b));
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i].score, b[i].score);
  EXPECT_EQ(a[0].id, 7U);
}

TEST(ExactScan, SearchesAmongAcceptedIdsOnly) {
  ExactScan scan = make(1, VectorMetric::kInnerProduct);
  for (std::uint64_t id = 0; id < 10; ++id)
    ASSERT_TRUE(scan.put(id, std::vector<float>{static_cast<float>(id)}));
  const auto odd = [](std::uint64_t id) { return id % 2 == 1; };
  EXPECT_EQ(ids_of(*scan.search(std::vector<float>{1}, 2, odd)),
            (std::vector<std::uint64_t>{9, 7}));
}

TEST(ExactScan, RefusesByName) {
  const auto code = [](const auto& result) { return result ? "" : result.error().code; };
  EXPECT_EQ(code(ExactScan::create(0, VectorMetric::kCosine, 1)), "invalid_options");
  EXPECT_EQ(code(ExactScan::create(4097, VectorMetric::kCosine, 1)), "invalid_options");
  ExactScan scan = make(2, VectorMetric::kCosine, 1);
  EXPECT_EQ(code(scan.put(1, std::vector<float>{1})), "vector_invalid");
  EXPECT_EQ(code(scan.put(1, std::vector<float>{0, 0})), "vector_invalid");
  EXPECT_EQ(code(scan.put(1, std::vector<float>{1, std::nanf("")})), "vector_invalid");
  EXPECT_EQ(code(scan.search(std::vector<float>{1, HUGE_VALF}, 1)), "vector_invalid");
  ASSERT_TRUE(scan.put(1, std::vector<float>{1, 0}));
  EXPECT_EQ(code(scan.put(2, std::vector<float>{1, 0})), "vector_store_full");
  EXPECT_TRUE(scan.put(1, std::vector<float>{0, 1}));  // a replacement is not one more
  EXPECT_FALSE(scan.erase(2));
  EXPECT_TRUE(scan.row(2).empty());
  ASSERT_EQ(scan.row(1).size(), 2U);
  EXPECT_EQ(scan.row(1)[1], 1);
}

}  // namespace
}  // namespace fieldprint
