#include "engine/logits.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "core/check.h"

namespace fieldprint {
namespace {

constexpr std::size_t kLanes = 16;
constexpr std::size_t kBlock = 1024;
constexpr std::uint32_t kExponentMask = 0x7F800000U;
constexpr float kExpLowest = -87.0F;  // below, the result would be subnormal

bool is_finite(float value) {
  return (std::bit_cast<std::uint32_t>(value) & kExponentMask) != kExponentMask;
}

// Cody-Waite reduction x = n ln2 + r, |r| <= ln2/2, then exp(r) by its Taylor series
// to r^7/5040 (remainder below 6e-9). Selections are masks, not branches: with branches
// the compiler does not vectorise the loops over it.
inline float exp_lane(float x, float floor_x) {
  constexpr float kLog2e = 1.44269504F;
  constexpr float kLn2High = 0.693359375F;
  constexpr float kLn2Low = -2.12194440e-4F;
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  const float clamped = x > kExpLowest ? x : kExpLowest;
  const float n = (clamped * kLog2e + kRound) - kRound;
  const float r = (clamped - n * kLn2High) - n * kLn2Low;
  float p = 1.0F / 5040.0F;
  p = p * r + 1.0F / 720.0F;
  p = p * r + 1.0F / 120.0F;
  p = p * r + 1.0F / 24.0F;
  p = p * r + 1.0F / 6.0F;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  const auto exponent = static_cast<std::uint32_t>(static_cast<std::int32_t>(n) + 127) << 23;
  const float result = p * std::bit_cast<float>(exponent);
  const std::uint32_t keep = 0U - static_cast<std::uint32_t>(x >= floor_x);
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(result) & keep);
}

struct BlockMax {
  float value;
  bool finite;
};

// Lanes give the compiler a reduction it may vectorise without reassociating floats.
BlockMax block_max(const float* values, std::size_t count) {
  std::array<float, kLanes> best;
  std::array<std::uint32_t, kLanes> bad{};
  best.fill(values[0]);
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float v = values[i + lane];
      best[lane] = v > best[lane] ? v : best[lane];
      const std::uint32_t exponent = std::bit_cast<std::uint32_t>(v) & kExponentMask;
      bad[lane] |= exponent == kExponentMask ? 1U : 0U;
    }
  }
  BlockMax out{values[0], true};
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    out.value = std::max(out.value, best[lane]);
    out.finite = out.finite && bad[lane] == 0;
  }
  for (; i < count; ++i) {
    out.value = std::max(out.value, values[i]);
    out.finite = out.finite && is_finite(values[i]);
  }
  return out;
}

// Index of the candidate that completes the smallest best-ranked set with a weight of at
// least `needed`; reorders. Quickselect on the running sum instead of on the count.
std::size_t select_prefix(std::span<Candidate> candidates, std::span<const float> weights,
                          double needed) {
  std::size_t low = 0;
  std::size_t high = candidates.size();
  while (high - low > 1) {
    const std::size_t middle = low + (high - low) / 2;
    const auto at = [&](std::size_t i) {
      return candidates.begin() + static_cast<std::ptrdiff_t>(i);
    };
    std::nth_element(at(low), at(middle), at(high), ranks_before);
    double sum = 0.0;
    for (std::size_t i = low; i < middle; ++i) {
      sum += static_cast<double>(weights[static_cast<std::size_t>(candidates[i].token)]);
    }
    if (sum >= needed) {
      high = middle;
    } else {
      needed -= sum;
      low = middle;
    }
  }
  return low;
}

}  // namespace

LogitMax find_max(std::span<const float> values) {
  FP_CHECK(!values.empty());
  float best = 0.0F;
  std::size_t best_block = 0;
  for (std::size_t begin = 0; begin < values.size(); begin += kBlock) {
    const BlockMax block = block_max(&values[begin], std::min(kBlock, values.size() - begin));
    if (!block.finite) return {};
    if (begin == 0 || block.value > best) {
      best = block.value;
      best_block = begin;
    }
  }
  std::size_t index = best_block;
  while (values[index] != best) ++index;
  return {true, static_cast<TokenId>(index), best};
}

float exp_negative(float x) { return exp_lane(x, kExpLowest); }

double softmax_weights(std::span<const float> values, float max, float inverse_temperature,
                       float floor, std::span<float> weights) {
  FP_CHECK(values.size() == weights.size());
  // The floor in the exponent's own terms: the same expression, so the same rounding.
  const float lowest = std::max(kExpLowest, (floor - max) * inverse_temperature);
  double total = 0.0;
  for (std::size_t begin = 0; begin < values.size(); begin += kBlock) {
    const std::size_t end = std::min(begin + kBlock, values.size());
    for (std::size_t i = begin; i < end; ++i) {
      weights[i] = exp_lane((values[i] - max) * inverse_temperature, lowest);
    }
    std::array<float, kLanes> lanes{};
    std::size_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += weights[i + lane];
    }
    for (const float lane : lanes) total += static_cast<double>(lane);
    for (; i < end; ++i) total += static_cast<double>(weights[i]);
  }
  return total;
}

double log_sum_exp(std::span<const float> values, float max) {
  double total = 0.0;
  for (std::size_t begin = 0; begin < values.size(); begin += kBlock) {
    const std::size_t end = std::min(begin + kBlock, values.size());
    std::array<float, kLanes> lanes{};
    std::size_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        lanes[lane] += exp_lane(values[i + lane] - max, kExpLowest);
      }
    }
    for (const float lane : lanes) total += static_cast<double>(lane);
    for (; i < end; ++i) total += static_cast<double>(exp_lane(values[i] - max, kExpLowest));
  }
  return static_cast<double>(max) + std::log(total);
}

// A buffer of up to 2n candidates above a rising bar: when it is full, keep its best
// n and raise the bar to the worst of them. Ids ascend, so a later equal value never
// displaces an earlier one and `>` against the bar is exact.
void top_n(std::span<const float> values, std::size_t n, float floor, std::vector<Candidate>& out) {
  out.clear();
  if (n == 0) return;
  const std::size_t keep = std::min(n, values.size());
  const std::size_t capacity = std::max<std::size_t>(2 * keep, 64);
  out.reserve(std::min(capacity, values.size()));
  bool has_bar = false;
  float bar = floor;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float value = values[i];
    if (has_bar ? !(value > bar) : !(value >= bar)) continue;
    out.push_back({static_cast<TokenId>(i), value});
    if (out.size() < capacity) continue;
    const auto last_kept = out.begin() + static_cast<std::ptrdiff_t>(keep - 1);
    std::nth_element(out.begin(), last_kept, out.end(), ranks_before);
    bar = last_kept->value;
    has_bar = true;
    out.resize(keep);
  }
  const std::size_t count = std::min(keep, out.size());
  const auto middle = out.begin() + static_cast<std::ptrdiff_t>(count);
  std::partial_sort(out.begin(), middle, out.end(), ranks_before);
  out.resize(count);
}

// Buckets of 1/16 in the exponent find the region of the boundary in one pass; only the
// bucket that holds it is ranked.
double keep_nucleus(std::span<const float> values, float max, float inverse_temperature,
                    double wanted, std::span<float> weights, std::vector<Candidate>& scratch) {
  FP_CHECK(values.size() == weights.size());
  constexpr float kPerUnit = 16.0F;
  constexpr auto kBuckets = static_cast<std::size_t>(-kExpLowest * kPerUnit) + 1;
  const auto bucket_of = [&](float value) {
    const float depth = (max - value) * inverse_temperature * kPerUnit;
    return std::min(kBuckets - 1, static_cast<std::size_t>(depth));
  };
  std::array<double, kBuckets> sums{};
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (weights[i] > 0.0F) sums[bucket_of(values[i])] += static_cast<double>(weights[i]);
  }
  std::size_t boundary = 0;
  double needed = wanted;
  while (boundary + 1 < kBuckets && sums[boundary] < needed) needed -= sums[boundary++];
  // Rounding may have walked past the last weight: then everything is kept.
  scratch.clear();
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (weights[i] > 0.0F && bucket_of(values[i]) == boundary) {
      scratch.push_back({static_cast<TokenId>(i), values[i]});
    }
  }
  Candidate last{static_cast<TokenId>(values.size()), max + kExpLowest / inverse_temperature};
  if (!scratch.empty()) last = scratch[select_prefix(scratch, weights, needed)];
  double total = 0.0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (ranks_before(last, {static_cast<TokenId>(i), values[i]})) weights[i] = 0.0F;
    total += static_cast<double>(weights[i]);
  }
  return total;
}

}  // namespace fieldprint
