// The prefill kernels, one translation unit per head size because each takes long to compile.
#pragma once

#include <cuda_runtime.h>

#include "attention/cuda/capi.h"
#include "attention/cuda/kernels/prefill_params.cuh"

namespace fieldprint::cuda {

// Launches on `stream`; at most kMaxPrefillCtas CTAs.
cudaError_t launch_prefill_64(const fp_attn_pool& pool, const PrefillArgs& args, int ctas,
                              cudaStream_t stream);
cudaError_t launch_prefill_128(const fp_attn_pool& pool, const PrefillArgs& args, int ctas,
                               cudaStream_t stream);
cudaError_t launch_prefill_256(const fp_attn_pool& pool, const PrefillArgs& args, int ctas,
                               cudaStream_t stream);

}  // namespace fieldprint::cuda
