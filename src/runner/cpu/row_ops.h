// Row operations around the weight products, chosen for the machine's instruction set.
//
// Every function works on one row and gives the same bits on every instruction set
// and whatever other rows exist: sums run over 16 fixed lanes.
#pragma once

namespace fieldprint {

struct RowOps {
  // out = x * weight / rms(x), rms over n elements with eps (RMSNorm, arXiv 1910.07467).
  // out may be x.
  void (*rms_norm)(const float* x, const float* weight, float eps, int n, float* out);
  // x += y
  void (*add)(float* x, const float* y, int n);
  // out = activation(gate) * up
  void (*silu_mul)(const float* gate, const float* up, int n, float* out);
  void (*gelu_mul)(const float* gate, const float* up, int n, float* out);
  // Rotates pairs (2i, 2i+1) of x by the angles whose cosine and sine are given, n pairs.
  void (*rope_adjacent)(float* x, const float* cosine, const float* sine, int n);
  // Rotates pairs (i, i+n).
  void (*rope_halves)(float* x, const float* cosine, const float* sine, int n);
};

const RowOps& row_ops();

}  // namespace fieldprint
