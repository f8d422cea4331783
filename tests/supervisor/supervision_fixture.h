// A small supervision model and states that are near its anchor's reference, or away from it.
#pragma once

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "supervisor/recipe.h"
#include "supervisor/states.h"
#include "supervisor/supervisor.h"

namespace fieldprint::test {

inline constexpr std::int32_t kTinyHidden = 64;
inline constexpr std::int32_t kTinyDims = 16;

// Coordinate i of a layer's state is coordinate i of x for i < 16; the reference is the first axis.
inline SupervisionRecipe tiny_recipe() {
  SupervisionRecipe recipe;
  recipe.fingerprint = must(make_fingerprint_recipe(kTinyHidden, vector_seed(), 15000));
  CoherenceRecipe coherence;
  coherence.layer = 2;
  coherence.hidden = kTinyHidden;
  coherence.dims = kTinyDims;
  coherence.half_life = 16;
  coherence.skip_tokens = 4;
  coherence.min_tokens = 8;
  coherence.samples = 1000;
  coherence.mean.assign(kTinyHidden, 0.0F);
  coherence.matrix.assign(std::size_t{kTinyDims} * kTinyHidden, 0.0F);
  coherence.reference.assign(kTinyDims, 0.0F);
  coherence.reference[0] = 1.0F;
  for (std::size_t i = 0; i < kTinyDims; ++i) coherence.matrix[i * kTinyHidden + i] = 1.0F;
  recipe.coherence = coherence;
  CoherenceJudge judge;
  judge.map = {0.5, 1.5};
  judge.mean_bound = 0.1;
  judge.alpha = 0.01;
  judge.limit = 2.5;
  judge.limit_alpha = 0.01;
  judge.sessions = 10;
  judge.segments = 100;
  recipe.judge = judge;
  return recipe;
}

inline std::shared_ptr<const SupervisionModel> tiny_model() {
  static const auto model = must(SupervisionModel::create(tiny_recipe(), kTinyHidden, 4));
  return model;
}

// A state at `angle` from the reference with noise; seeds are fixed.
inline std::vector<float> state_at(double angle, std::uint64_t seed) {
  std::vector<float> state = gaussian_states(seed, kTinyHidden, 0.3);
  state[0] += static_cast<float>(4 * std::cos(angle));
  state[1] += static_cast<float>(4 * std::sin(angle));
  return state;
}

inline SupervisionStart tiny_start(const std::string& id,
                                   OverflowPolicy policy = OverflowPolicy::kOptimistic) {
  SupervisionStart start;
  start.binding.response_id = id;
  start.binding.salt.fill(0x53);
  start.binding.recipe_digest = tiny_model()->fingerprinter().recipe_digest();
  start.binding.numeric_profile = "invariant/test";
  start.model = tiny_model();
  start.policy = policy;
  return start;
}

}  // namespace fieldprint::test
