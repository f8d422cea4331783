// Products of activations with weights, y = x W^T.
//
// In the fast profile cuBLASLt computes them, with the algorithm it prefers for the number of
// rows, rounded up, and for few rows a kernel of ours that only streams the weights
// (kernels/skinny.cuh). In the invariant profile one kernel does all (kernels/product.cuh).
#pragma once

#include <cstdint>
#include <memory>

#include "core/error.h"
#include "runner/cuda/kernels.h"
#include "runner/profile.h"

namespace fieldprint::cuda {

// A weight matrix on the device: bf16 [rows][columns], inputs along a row.
struct Matrix {
  const void* data = nullptr;
  std::int32_t rows = 0;
  std::int32_t columns = 0;
};

class Products {
 public:
  virtual ~Products() = default;
  // y [rows][weight.rows] from x, bf16 [rows][weight.columns]. Both must have room for
  // padded_rows(rows): more rows than asked for may be computed. May be captured in a CUDA graph.
  // Errors: cuda_error.
  virtual Status run(const Matrix& weight, const void* x, int rows, void* y, ProductOutput output,
                     void* stream) = 0;
  // gated [rows][gate_up.rows / 2], bf16: activation(gate) * up, see CudaWeights; scratch holds
  // [rows][gate_up.rows]. Rows and errors as above.
  virtual Status gated(const Matrix& gate_up, const void* x, int rows, void* scratch, void* gated,
                       GateKind kind, void* stream);
  // Names what decides bits, for the numeric profile.
  virtual const char* name() const = 0;

  static int padded_rows(int rows);
};

// Errors: cublas_missing, cuda_error, cuda_out_of_memory.
Result<std::unique_ptr<Products>> make_products(NumericProfile profile);

}  // namespace fieldprint::cuda
