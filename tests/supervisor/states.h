// Made-up hidden states for the supervisor's tests.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "supervisor/chain.h"
#include "supervisor/fingerprint.h"

namespace fieldprint::test {

template <typename T>
T must(Result<T> result) {
  if (!result) {
    ADD_FAILURE() << result.error().code << ": " << result.error().message;
    std::abort();
  }
  return std::move(*result);
}

// Standard normal numbers; seeds are fixed, so every run is the same.
inline std::vector<float> gaussian_states(std::uint64_t seed, std::size_t count, double scale = 1) {
  std::mt19937_64 rng(seed);
  std::normal_distribution<double> normal;
  std::vector<float> out(count);
  for (float& x : out) x = static_cast<float>(scale * normal(rng));
  return out;
}

// State t of the test vectors in docs/formats/fingerprint.md.
inline std::vector<float> vector_state(int t) {
  std::vector<float> x(96);
  for (int i = 0; i < 96; ++i) {
    x[static_cast<std::size_t>(i)] = static_cast<float>((37 * i + 11 * t) % 101 - 50) / 16.0F;
  }
  return x;
}
inline FingerprintSeed vector_seed() {
  FingerprintSeed seed;
  for (std::size_t i = 0; i < seed.size(); ++i) seed[i] = static_cast<std::uint8_t>(i);
  return seed;
}
inline Fingerprinter vector_fingerprinter() {
  return must(Fingerprinter::create(must(make_fingerprint_recipe(96, vector_seed(), 15000))));
}

inline ChainBinding vector_binding() {
  ChainBinding binding;
  binding.response_id = "resp_1";
  binding.salt.fill(0x53);
  binding.model_digest.fill(0x4D);
  binding.recipe_digest = vector_fingerprinter().recipe_digest();
  binding.numeric_profile = "invariant/test";
  return binding;
}

}  // namespace fieldprint::test
