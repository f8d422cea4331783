// The tensors of a decoder-only model by role, checked against its config.
// Pointers are into the GGUF mapping. Immutable after find_weights().
#pragma once

#include <vector>

#include "core/error.h"
#include "model/config.h"
#include "model/gguf.h"

namespace fieldprint {

// nullptr where the config says that the model has none.
struct LayerWeights {
  const GgufTensor* attn_norm = nullptr;  // [hidden]
  const GgufTensor* q = nullptr;          // [hidden, heads*head_dim]
  const GgufTensor* k = nullptr;          // [hidden, kv_heads*head_dim]
  const GgufTensor* v = nullptr;
  const GgufTensor* q_bias = nullptr;  // [heads*head_dim]
  const GgufTensor* k_bias = nullptr;
  const GgufTensor* v_bias = nullptr;
  const GgufTensor* q_norm = nullptr;  // [head_dim]
  const GgufTensor* k_norm = nullptr;
  const GgufTensor* attn_out = nullptr;        // [heads*head_dim, hidden]
  const GgufTensor* attn_post_norm = nullptr;  // [hidden]
  const GgufTensor* ffn_norm = nullptr;        // [hidden]
  const GgufTensor* gate = nullptr;            // [hidden, ffn]
  const GgufTensor* up = nullptr;
  const GgufTensor* down = nullptr;           // [ffn, hidden]
  const GgufTensor* ffn_post_norm = nullptr;  // [hidden]
};

struct ModelWeights {
  const GgufTensor* embedding = nullptr;    // [hidden, vocab]
  const GgufTensor* output_norm = nullptr;  // [hidden]
  const GgufTensor* output = nullptr;       // [hidden, vocab]; the embedding when tied
  std::vector<LayerWeights> layers;
};

// Errors: model_tensor_missing, model_tensor_shape, model_tensor_type (norms and
// biases must be f32).
Result<ModelWeights> find_weights(const GgufFile& file, const ModelConfig& config);

}  // namespace fieldprint
