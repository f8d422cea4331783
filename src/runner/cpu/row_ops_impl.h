// Bodies of RowOps; included by row_ops_<isa>.cc, each compiled for its own ISA.
// FP_ROW_OPS_NAMESPACE names the copy. Plain loops that the compiler vectorises.
#include <cmath>

#include "runner/cpu/row_ops.h"

namespace fieldprint::FP_ROW_OPS_NAMESPACE {
namespace {

constexpr int kLanes = 16;

// e^x by 2^n * p(r), |relative error| < 2e-7 on the range activations use. Written
// out so that it vectorises and gives equal bits everywhere (libm does neither).
inline float exp_poly(float x) {
  const float clamped = x < -87.0F ? -87.0F : (x > 88.0F ? 88.0F : x);
  const float n = std::floor(clamped * 1.44269504F + 0.5F);
  const float r = (clamped - n * 0.693359375F) + n * 2.12194440e-4F;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  const float e = (p * r * r + r) + 1.0F;
  const int exponent = (static_cast<int>(n) + 127) << 23;
  return e * __builtin_bit_cast(float, exponent);
}

void rms_norm(const float* x, const float* weight, float eps, int n, float* out) {
  float lane[kLanes] = {};
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) lane[j] += x[i + j] * x[i + j];
  }
  for (int j = 0; i + j < n; ++j) lane[j] += x[i + j] * x[i + j];
  double sum = 0;
  for (const float value : lane) sum += value;
  const float scale = static_cast<float>(1.0 / std::sqrt(sum / n + eps));
  for (int k = 0; k < n; ++k) out[k] = x[k] * scale * weight[k];
}

void add(float* x, const float* y, int n) {
  for (int i = 0; i < n; ++i) x[i] += y[i];
}

void silu_mul(const float* gate, const float* up, int n, float* out) {
  for (int i = 0; i < n; ++i) {
    out[i] = gate[i] / (1.0F + exp_poly(-gate[i])) * up[i];
  }
}

// GELU, tanh form (arXiv 1606.08415): 0.5 x (1 + tanh(u)) = x / (1 + e^(-2u)).
void gelu_mul(const float* gate, const float* up, int n, float* out) {
  for (int i = 0; i < n; ++i) {
    const float x = gate[i];
    const float u = 0.79788456F * x * (1.0F + 0.044715F * x * x);
    out[i] = x / (1.0F + exp_poly(-2.0F * u)) * up[i];
  }
}

void rope_adjacent(float* x, const float* cosine, const float* sine, int n) {
  for (int i = 0; i < n; ++i) {
    const float a = x[2 * i];
    const float b = x[2 * i + 1];
    x[2 * i] = a * cosine[i] - b * sine[i];
    x[2 * i + 1] = a * sine[i] + b * cosine[i];
  }
}

void rope_halves(float* x, const float* cosine, const float* sine, int n) {
  for (int i = 0; i < n; ++i) {
    const float a = x[i];
    const float b = x[i + n];
    x[i] = a * cosine[i] - b * sine[i];
    x[i + n] = a * sine[i] + b * cosine[i];
  }
}

}  // namespace

extern const RowOps kOps;
const RowOps kOps = {rms_norm, add, silu_mul, gelu_mul, rope_adjacent, rope_halves};

}  // namespace fieldprint::FP_ROW_OPS_NAMESPACE
