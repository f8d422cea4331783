// The activations of gated feed-forward networks.
#pragma once

namespace fieldprint::cuda {

__device__ __forceinline__ float silu(float x) { return x / (1.0F + __expf(-x)); }

// tanh form (arXiv 1606.08415): 0.5 x (1 + tanh(u)) = x / (1 + e^(-2u)).
__device__ __forceinline__ float gelu(float x) {
  const float u = 0.79788456F * x * (1.0F + 0.044715F * x * x);
  return x / (1.0F + __expf(-2.0F * u));
}

}  // namespace fieldprint::cuda
