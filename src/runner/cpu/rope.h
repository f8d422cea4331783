// Rotary position tables of one step (RoPE, arXiv 2104.09864).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/config.h"

namespace fieldprint {

// cos and sin of every (token, pair) of a step, for global and for sliding-window
// layers (Gemma 3 rotates those with another base and no scaling).
class RopeTables {
 public:
  explicit RopeTables(const ModelConfig& config);

  // Fills the tables for tokens at these positions.
  void fill(std::span<const std::int32_t> positions);

  int pairs() const { return pairs_; }
  // [pairs] for token t of the last fill().
  const float* cosine(int t, bool window) const { return row(window ? local_ : global_, t); }
  const float* sine(int t, bool window) const { return cosine(t, window) + pairs_; }

 private:
  const float* row(const std::vector<float>& table, int t) const {
    return table.data() + static_cast<std::size_t>(t) * 2 * static_cast<std::size_t>(pairs_);
  }
  void fill_table(std::span<const std::int32_t> positions, const std::vector<double>& frequency,
                  std::vector<float>& table) const;

  int pairs_;
  std::vector<double> frequency_;        // [pairs], radians per position
  std::vector<double> frequency_local_;  // empty unless the model has windows
  std::vector<float> global_;            // [tokens][cos pairs, sin pairs]
  std::vector<float> local_;
};

}  // namespace fieldprint
