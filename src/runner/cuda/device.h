// The GPU that everything here runs on.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "core/error.h"

namespace fieldprint::cuda {

// The first device that CUDA shows (CUDA_VISIBLE_DEVICES chooses). Errors: cuda_no_device,
// cuda_device_unsupported (the kernels are built for compute capability 9.0).
Result<cudaDeviceProp> find_device();

Result<std::size_t> free_memory();

}  // namespace fieldprint::cuda
