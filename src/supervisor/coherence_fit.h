// Fits a coherence recipe to sample states of one layer of one model.
//
//   mu = mean of the background; c = mean of the anchored - mu, the contrast
//   z = (h - mu) / s, s_i: standard deviation within the two groups. Without it a few massive
//       dimensions would be all that the next step sees. No s_i below 1/1000 of their median
//   B: dims x hidden, orthonormal rows: c / s first, then the directions of largest variance of z
//       within the groups (subspace iteration)
//   S = covariance of B z within the groups; S' = (1-a) S + a tr(S)/dims I, a by Ledoit and Wolf
//       ("A well-conditioned estimator for large-dimensional covariance matrices", 2004)
//   W = S'^(-1/2) B diag(1/s);  q = W c / |W c|
// Shifting or scaling single dimensions of all states thus changes no angle (above that floor).
//
// Thread rule: a pure function; the same input gives the same bytes everywhere.
#pragma once

#include <cstdint>
#include <span>

#include "core/error.h"
#include "supervisor/coherence.h"

namespace fieldprint {

struct CoherenceFitOptions {
  std::int32_t layer = 0;
  std::int32_t dims = 32;
  std::int32_t half_life = 24;
  std::int32_t skip_tokens = 4;
  std::int32_t min_tokens = 8;
  int iterations = 20;    // of the subspace
  double shrinkage = -1;  // 0..1; negative: by the formula
};

// background: states without the anchor, or under other identities; anchored: with it. Both
// [n, hidden], the same kinds of text in both, or the contrast is one of texts. The shrinkage
// formula takes samples as independent; neighbouring tokens are not, so leave some out between.
// Errors: coherence_fit_invalid (options; fewer than 2 dims samples in a group; a value not
// finite; no variance; no contrast between the groups).
Result<CoherenceRecipe> fit_coherence(std::int32_t hidden, std::span<const float> background,
                                      std::span<const float> anchored,
                                      const CoherenceFitOptions& options);

}  // namespace fieldprint
