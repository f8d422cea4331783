#include "attention/cuda/prefill_launch.cuh"

namespace fieldprint::cuda {

cudaError_t launch_prefill_256(const fp_attn_pool& pool, const PrefillArgs& args, int ctas,
                               cudaStream_t stream) {
  return launch_prefill<256>(pool, args, ctas, stream);
}

}  // namespace fieldprint::cuda
