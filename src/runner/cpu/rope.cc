#include "runner/cpu/rope.h"

#include <cmath>

namespace fieldprint {

RopeTables::RopeTables(const ModelConfig& config) : pairs_(config.rope_dims / 2) {
  for (int i = 0; i < pairs_; ++i) {
    const double exponent = -2.0 * i / config.rope_dims;
    const double factor =
        config.rope_factors.empty() ? 1.0 : config.rope_factors[static_cast<std::size_t>(i)];
    frequency_.push_back(std::pow(config.rope_base, exponent) * config.rope_scale / factor);
    if (config.window > 0) {
      frequency_local_.push_back(std::pow(config.rope_base_local, exponent));
    }
  }
}

void RopeTables::fill(std::span<const std::int32_t> positions) {
  fill_table(positions, frequency_, global_);
  if (!frequency_local_.empty()) fill_table(positions, frequency_local_, local_);
}

void RopeTables::fill_table(std::span<const std::int32_t> positions,
                            const std::vector<double>& frequency, std::vector<float>& table) const {
  const auto pairs = static_cast<std::size_t>(pairs_);
  table.resize(positions.size() * 2 * pairs);
  float* out = table.data();
  for (const std::int32_t position : positions) {
    for (std::size_t i = 0; i < pairs; ++i) {
      const double angle = position * frequency[i];
      out[i] = static_cast<float>(std::cos(angle));
      out[pairs + i] = static_cast<float>(std::sin(angle));
    }
    out += 2 * pairs;
  }
}

}  // namespace fieldprint
