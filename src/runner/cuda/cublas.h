// cuBLASLt, found at run time: a binary that was built with CUDA also starts where there is none.
#pragma once

#include <cublasLt.h>

#include "core/error.h"

namespace fieldprint::cuda {

// The functions that are used here, as in cublasLt.h.
struct CublasLt {
  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtDestroy) destroy = nullptr;
  decltype(&cublasLtGetVersion) version = nullptr;
  decltype(&cublasLtMatmul) matmul = nullptr;
  decltype(&cublasLtMatmulDescCreate) desc_create = nullptr;
  decltype(&cublasLtMatmulDescDestroy) desc_destroy = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set = nullptr;
  decltype(&cublasLtMatrixLayoutCreate) layout_create = nullptr;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy = nullptr;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create = nullptr;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic = nullptr;
};

// Loaded once, kept for good. Errors: cublas_missing (kUnsupported).
Result<const CublasLt*> cublas_lt();

// Nothing for success. Errors: cuda_error.
Status check_cublas(cublasStatus_t status, const char* doing);

}  // namespace fieldprint::cuda
