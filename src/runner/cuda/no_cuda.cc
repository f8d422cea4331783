// What cuda_runner.h promises where there was no CUDA to build with.
#include "runner/cuda/cuda_runner.h"

namespace fieldprint {
namespace {

tl::unexpected<Error> not_built() {
  return fail(ErrorKind::kUnsupported, "cuda_not_built",
              "this binary was built without CUDA; build it where nvcc is installed "
              "(docs/building.md), or use --device cpu",
              "device");
}

}  // namespace

Result<std::unique_ptr<Runner>> make_cuda_runner(std::shared_ptr<const Model> /*model*/,
                                                 const CudaRunnerOptions& /*options*/) {
  return not_built();
}

Result<std::int64_t> cuda_kv_memory(const Model& /*model*/, std::int32_t /*max_step_tokens*/) {
  return not_built();
}

Result<double> cuda_read_rate() { return not_built(); }

}  // namespace fieldprint
