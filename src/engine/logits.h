// Passes over one row of logits, written so that the compiler vectorises them and
// so that the bits do not depend on the machine: fixed lane order, own exp (the C
// library's differs between CPUs).
//
// Thread rule: pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/tokenizer.h"

namespace fieldprint {

struct Candidate {
  TokenId token = 0;
  float value = 0.0F;
};

// The order of candidates everywhere: larger value first, then smaller token id.
constexpr bool ranks_before(const Candidate& a, const Candidate& b) {
  return a.value != b.value ? a.value > b.value : a.token < b.token;
}

struct LogitMax {
  bool finite = false;  // false: some value is NaN or infinite, the rest is unset
  TokenId token = 0;    // smallest id among equals
  float value = 0.0F;
};
// One pass (plus a rescan of the winning block of 1024). values must not be empty.
LogitMax find_max(std::span<const float> values);

// exp(x) for x <= 0; 0 below -87. Relative error < 3e-7 (tests/engine/logits_test.cc).
float exp_negative(float x);

// weights[i] = exp((values[i] - max) * inverse_temperature), 0 where values[i] < floor.
// Returns the sum. weights has the size of values.
double softmax_weights(std::span<const float> values, float max, float inverse_temperature,
                       float floor, std::span<float> weights);

// log(sum(exp(values))), natural, given the row's maximum.
double log_sum_exp(std::span<const float> values, float max);

// The n best values that are >= floor, best first. Linear in values.size() for n
// small against it; never sorts more than n. Fewer than n if fewer qualify.
void top_n(std::span<const float> values, std::size_t n, float floor, std::vector<Candidate>& out);

// Cuts weights, as softmax_weights() left them, down to the smallest set of best-ranked
// values whose weights sum to at least `wanted` (at least one): the others become 0.
// Returns the sum that is left. Linear time. scratch: contents are lost.
double keep_nucleus(std::span<const float> values, float max, float inverse_temperature,
                    double wanted, std::span<float> weights, std::vector<Candidate>& scratch);

}  // namespace fieldprint
