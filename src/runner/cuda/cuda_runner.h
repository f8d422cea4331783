// The runner for NVIDIA GPUs (Hopper): weights and activations in bf16, sums and the residual
// stream in float, attention by attention/cuda, products by cuBLASLt (fast) or our own kernel
// (invariant). A binary built without CUDA has these functions too; they answer cuda_not_built.
//
// What a step costs beyond its kernels: one copy in, one launch (decode steps are CUDA graphs,
// one for each rounded-up batch), one wait for the logits.
#pragma once

#include <cstdint>
#include <memory>

#include "model/model.h"
#include "runner/profile.h"
#include "runner/runner.h"

namespace fieldprint {

struct CudaRunnerOptions {
  std::int64_t kv_tokens = 0;  // capacity of the KV pool; 0 = what the free memory holds
  std::int32_t max_step_tokens = 2048;
  NumericProfile profile = NumericProfile::kFast;
  LoadProgress progress;
};

// Errors: cuda_not_built, cuda_no_device, cuda_device_unsupported (not compute capability 9.0),
// cublas_missing, model_unsupported (what the kernels lack), cuda_out_of_memory, cuda_error.
// After a cuda_error of forward() that the device does not recover from, every later call gives
// the same error: the process has to be started again.
Result<std::unique_ptr<Runner>> make_cuda_runner(std::shared_ptr<const Model> model,
                                                 const CudaRunnerOptions& options);

// Bytes of the GPU that a runner of this model could use for KV pages now: what is free, less
// weights and activations. 0 when not even those fit. Errors: as make_cuda_runner.
Result<std::int64_t> cuda_kv_memory(const Model& model, std::int32_t max_step_tokens);

// Bytes per second that a plain kernel reads from the GPU's memory: the limit of a decode step.
// Takes 4 GiB for the moment. Errors: as above.
Result<double> cuda_read_rate();

}  // namespace fieldprint
