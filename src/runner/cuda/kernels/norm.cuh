// Embedding rows and RMS norms. One CTA per row, sums in a fixed order: a row's bits do not
// depend on the batch.
#pragma once

#include "runner/cuda/kernels.h"
#include "runner/cuda/kernels/common.cuh"

namespace fieldprint::cuda {

inline constexpr int kNormThreads = 256;
inline constexpr int kNormWarps = kNormThreads / 32;

// residual[row] = embedding[token] * scale, as float. An id outside the table gives NaN: the
// host has checked them, so only padding can be meant, and that is row 0.
__global__ void __launch_bounds__(kNormThreads) embed_kernel(EmbedArgs args) {
  const int row = blockIdx.x;
  const int token = args.tokens[row];
  const auto* from = static_cast<const std::uint32_t*>(args.embedding) +
                     static_cast<std::size_t>(token) * (args.hidden / 2);
  auto* to = reinterpret_cast<float2*>(args.residual + static_cast<std::size_t>(row) * args.hidden);
  for (int i = threadIdx.x; i < args.hidden / 2; i += kNormThreads) {
    const float2 pair = unpack_pair(from[i]);
    to[i] = {pair.x * args.scale, pair.y * args.scale};
  }
}

__device__ __forceinline__ float squares(const float4& x) {
  return x.x * x.x + x.y * x.y + x.z * x.z + x.w * x.w;
}

// x * scale * weight
__device__ __forceinline__ float4 scaled(const float4& x, float scale, const float4& weight) {
  return {x.x * scale * weight.x, x.y * scale * weight.y, x.z * scale * weight.z,
          x.w * scale * weight.w};
}

// A row of up to kVecs * 4 * kNormThreads floats in registers.
template <int kVecs>
struct NormRow {
  float4 at[kVecs];

  __device__ __forceinline__ void load(const float* row, int vectors) {
#pragma unroll
    for (int i = 0; i < kVecs; ++i) {
      const int v = i * kNormThreads + static_cast<int>(threadIdx.x);
      at[i] = v < vectors ? reinterpret_cast<const float4*>(row)[v] : float4{0, 0, 0, 0};
    }
  }
  __device__ __forceinline__ float scale(int hidden, float eps) const {
    float sum = 0.0F;
#pragma unroll
    for (int i = 0; i < kVecs; ++i) sum += squares(at[i]);
    return rsqrtf(cta_sum<kNormWarps>(sum) / static_cast<float>(hidden) + eps);
  }
};

// residual += rms_norm(branch) * post_weight where there is a branch; then
// normed = rms_norm(residual) * weight, as bf16 and, where asked, as float.
template <int kVecs>
__global__ void __launch_bounds__(kNormThreads) norm_kernel(NormArgs args) {
  const std::size_t offset = static_cast<std::size_t>(blockIdx.x) * args.hidden;
  const int vectors = args.hidden / 4;
  NormRow<kVecs> x;
  NormRow<kVecs> weight;
  launch_dependents();
  constexpr bool kEarly = kVecs <= 4;  // registers; weights depend on nothing
  if (kEarly) weight.load(args.weight, vectors);
  wait_for_previous_kernel();
  x.load(args.residual + offset, vectors);
  if (args.branch != nullptr) {
    NormRow<kVecs> branch;
    branch.load(args.branch + offset, vectors);
    const float post = branch.scale(args.hidden, args.eps);
    NormRow<kVecs> post_weight;
    post_weight.load(args.post_weight, vectors);
#pragma unroll
    for (int i = 0; i < kVecs; ++i) {
      const float4 added = scaled(branch.at[i], post, post_weight.at[i]);
      x.at[i] = {x.at[i].x + added.x, x.at[i].y + added.y, x.at[i].z + added.z,
                 x.at[i].w + added.w};
      const int v = i * kNormThreads + static_cast<int>(threadIdx.x);
      if (v < vectors) reinterpret_cast<float4*>(args.residual + offset)[v] = x.at[i];
    }
  }
  const float scale = x.scale(args.hidden, args.eps);
  if (!kEarly) weight.load(args.weight, vectors);
#pragma unroll
  for (int i = 0; i < kVecs; ++i) {
    const int v = i * kNormThreads + static_cast<int>(threadIdx.x);
    if (v >= vectors) continue;
    const float4 y = scaled(x.at[i], scale, weight.at[i]);
    auto* out = reinterpret_cast<uint2*>(static_cast<std::uint16_t*>(args.normed) + offset);
    out[v] = {pack_pair(y.x, y.y), pack_pair(y.z, y.w)};
    if (args.normed_f32 != nullptr) reinterpret_cast<float4*>(args.normed_f32 + offset)[v] = y;
  }
}

}  // namespace fieldprint::cuda
