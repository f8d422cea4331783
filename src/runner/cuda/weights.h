// A model's weights on the device: matrices in bf16, norms and biases as float.
//
// Products of the same input are one matrix: q, k and v rows one after another, gate and up rows
// in turn (row 2i is gate i, row 2i + 1 is up i), so that both halves of a gated unit meet in
// one place. Immutable after load().
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "core/error.h"
#include "model/model.h"
#include "runner/cuda/memory.h"
#include "runner/cuda/products.h"
#include "runner/profile.h"

namespace fieldprint::cuda {

struct CudaLayer {
  const float* attn_norm = nullptr;
  Matrix qkv;
  const float* qkv_bias = nullptr;  // [q + 2 kv]; nullptr: none
  const float* q_norm = nullptr;
  const float* k_norm = nullptr;
  Matrix attn_out;
  const float* attn_post_norm = nullptr;
  const float* ffn_norm = nullptr;
  Matrix gate_up;
  Matrix down;
  const float* ffn_post_norm = nullptr;
};

struct CudaWeights {
  DeviceBuffer memory;
  Matrix embedding;
  Matrix output;  // the embedding when tied
  const float* output_norm = nullptr;
  std::vector<CudaLayer> layers;

  // Converts every ggml type to bf16 on the way. Errors: cuda_out_of_memory, cuda_error,
  // model_unsupported (a tensor type that ggml cannot convert).
  static Result<std::unique_ptr<CudaWeights>> load(const Model& model,
                                                   const LoadProgress& progress);
  // Device bytes that load() will take.
  static std::size_t bytes_for(const Model& model);
};

}  // namespace fieldprint::cuda
