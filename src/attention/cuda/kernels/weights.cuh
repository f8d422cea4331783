// How an anchor weighs against its context, shared by decode and prefill.
//
// Natural logarithms: L_a, L_c are the log-sum-exps of the anchor rows and of the context
// rows. Weight w of the anchor side: joint sigmoid(L_a - L_c), gated gamma, floored
// sigmoid(L_a - L_c + clamp(logit(psi) - (L_a - L_c), 0, ln 5)); 0 without anchor rows, 1
// without context rows (as reference.cc says).
#pragma once

#include <cstddef>
#include <cstdint>

#include "attention/cuda/kernels/params.cuh"

namespace fieldprint::cuda {

__device__ __forceinline__ float natural_lse(float m, float total) {
  // Never contracted with a later subtraction: bits must not depend on the code around.
  return total > 0.0F ? __fmul_rn(m + __log2f(total), kLn2) : -INFINITY;
}

__device__ __forceinline__ float joint_lse(float lse_a, float lse_c) {
  const float top = fmaxf(lse_a, lse_c);
  const float low = fminf(lse_a, lse_c);
  return top == -INFINITY ? top : top + log1pf(__expf(low - top));
}

// One head's policy; fetched early, because it takes dependent loads.
struct AnchorPolicy {
  int mode = 0;  // AnchorMode
  float gamma = 0.0F;
  float psi = 0.0F;

  __device__ __forceinline__ AnchorPolicy(const PolicyView& view, int q_heads, int anchor,
                                          int head) {
    if (view.modes == nullptr || anchor < 0) return;
    mode = view.modes[anchor];
    gamma = view.gamma[static_cast<std::size_t>(anchor) * q_heads + head];
    psi = view.psi[anchor];
  }
  __device__ __forceinline__ float weight(float lse_context, float lse_anchor) const {
    if (lse_anchor == -INFINITY) return 0.0F;
    if (lse_context == -INFINITY) return 1.0F;
    if (mode == 1) return gamma;
    float logit = lse_anchor - lse_context;
    if (mode == 2 && psi > 0.0F) {
      constexpr float kCap = 1.6094379F;  // kFlooredBiasCap of plan.h
      logit += fminf(fmaxf(__logf(psi / (1.0F - psi)) - logit, 0.0F), kCap);
    }
    return 1.0F / (1.0F + __expf(-logit));
  }
};

}  // namespace fieldprint::cuda
