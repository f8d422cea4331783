// The loops behind products.h, compiled by each file that includes this for its own instruction
// set; hence the unnamed namespace, and nothing of the standard library but memcpy.
#pragma once

#include <cstring>

#include "supervisor/products.h"

namespace fieldprint {
namespace {

void integer_loop(const std::int32_t* matrix, const std::int32_t* x, std::size_t n,
                  std::int64_t* out, std::size_t rows) {
  for (std::size_t r = 0; r < rows; ++r) {
    const std::int32_t* row = matrix + r * n;
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < n; ++i) sum += std::int64_t{row[i]} * x[i];
    out[r] = sum;
  }
}

// Four sums side by side, in the vector types that GCC and clang share.
using Floats = float __attribute__((vector_size(16)));
using Doubles = double __attribute__((vector_size(32)));
constexpr std::size_t kLanes = 4;
constexpr std::size_t kTileVectors = 4;  // a tile of 16 sums stays in registers

void ordered_loop(const float* columns, const double* x, std::size_t n, double* out,
                  std::size_t sums) {
  constexpr std::size_t kTile = kTileVectors * kLanes;
  std::size_t done = 0;
  for (; done + kTile <= sums; done += kTile) {
    Doubles tile[kTileVectors] = {};
    for (std::size_t i = 0; i < n; ++i) {
      const float* row = columns + i * sums + done;
      for (std::size_t v = 0; v < kTileVectors; ++v) {
        Floats weights;
        std::memcpy(&weights, row + v * kLanes, sizeof weights);
        tile[v] += __builtin_convertvector(weights, Doubles) * x[i];
      }
    }
    std::memcpy(out + done, tile, sizeof tile);
  }
  for (; done < sums; ++done) {
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) sum += double{columns[i * sums + done]} * x[i];
    out[done] = sum;
  }
}

// Truncation and a step down where that went up is floor(), without a call for each element.
bool fixed_point_loop(const float* state, float limit, std::int32_t* x, std::size_t n) {
  std::int32_t good = 1;
  for (std::size_t i = 0; i < n; ++i) good &= __builtin_fabsf(state[i]) <= limit ? 1 : 0;
  if (good == 0) return false;
  for (std::size_t i = 0; i < n; ++i) {
    const double scaled = double{state[i]} * 65536.0 + 0.5;
    const auto toward_zero = static_cast<std::int32_t>(scaled);
    x[i] = toward_zero - (static_cast<double>(toward_zero) > scaled ? 1 : 0);
  }
  return true;
}

constexpr Products kLoops = {integer_loop, ordered_loop, fixed_point_loop};

}  // namespace
}  // namespace fieldprint
