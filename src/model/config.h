// Shape of a decoder-only model, read from GGUF metadata (model/gguf.h).
// Units: counts of elements; frequencies in radians per position.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"

namespace fieldprint {

enum class RopeStyle : std::uint8_t {
  kAdjacent,  // pairs (2i, 2i+1): llama GGUF files
  kHalves,    // pairs (i, i + d/2): qwen, gemma ("neox")
};

enum class Activation : std::uint8_t { kSilu, kGeluTanh };

struct ModelConfig {
  std::string architecture;  // "llama", "qwen2", "qwen3", "gemma3"
  std::string name;          // general.name, may be empty
  std::int32_t layers = 0;
  std::int32_t hidden = 0;
  std::int32_t heads = 0;
  std::int32_t kv_heads = 0;
  std::int32_t head_dim = 0;
  std::int32_t ffn = 0;
  std::int32_t vocab = 0;
  std::int32_t context_train = 0;  // tokens the model was trained for
  float norm_eps = 1e-5F;

  RopeStyle rope_style = RopeStyle::kAdjacent;
  std::int32_t rope_dims = 0;
  float rope_base = 10000.0F;
  float rope_scale = 1.0F;           // linear scaling: positions are multiplied by this
  float rope_base_local = 10000.0F;  // sliding-window layers (Gemma 3)
  std::vector<float> rope_factors;   // [rope_dims/2] divisors (llama 3), empty if none

  std::int32_t window = 0;         // sliding window in tokens, 0 = full attention
  std::int32_t window_period = 0;  // every n-th layer is global when window > 0
  bool qk_norm = false;
  bool qkv_bias = false;
  bool post_norms = false;  // Gemma: norm after attention and after the FFN
  bool tied_embeddings = false;
  Activation activation = Activation::kSilu;
  float embedding_scale = 1.0F;  // Gemma: sqrt(hidden)
  float attention_scale = 0.0F;  // 1/sqrt(head_dim) unless the model says otherwise

  bool layer_has_window(int layer) const {
    return window > 0 && (window_period == 0 || (layer + 1) % window_period != 0);
  }
};

class GgufFile;

// Reads and checks the shape. Errors: model_unsupported (architecture, rope
// scaling or per-layer shapes this build cannot run), model_corrupt (missing or
// impossible metadata; the message names the key).
Result<ModelConfig> read_config(const GgufFile& file);

}  // namespace fieldprint
