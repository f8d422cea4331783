// CUDA's and the kernels' errors as ours.
#pragma once

#include <cuda_runtime_api.h>

#include <string_view>

#include "attention/cuda/kv_capi.h"
#include "core/error.h"

namespace fieldprint::cuda {

// Nothing for cudaSuccess. Errors: cuda_out_of_memory (kExhausted), cuda_error (kInternal).
// `doing`: "copying the logits", for the message. Takes the runtime's pending error away; one
// that stays (a kernel that failed) comes back from every later call.
Status check(cudaError_t error, std::string_view doing);
Status check(fp_attn_status status, std::string_view doing);
Status check(fp_kv_status status, std::string_view doing);

}  // namespace fieldprint::cuda
