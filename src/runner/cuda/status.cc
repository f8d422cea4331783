#include "runner/cuda/status.h"

#include <string>

namespace fieldprint::cuda {
namespace {

Status refused(std::string_view doing, std::string_view by, std::string_view name) {
  return fail(ErrorKind::kInternal, "cuda_error",
              std::string(doing) + " failed: " + std::string(by) + " says " + std::string(name));
}

}  // namespace

Status check(cudaError_t error, std::string_view doing) {
  if (error == cudaSuccess) return {};
  cudaGetLastError();
  if (error == cudaErrorMemoryAllocation) {
    return fail(ErrorKind::kExhausted, "cuda_out_of_memory",
                std::string(doing) +
                    " failed: the GPU's memory is used up; lower --kv-tokens, "
                    "take a smaller model, or end other programs on the GPU");
  }
  return refused(doing, "CUDA", cudaGetErrorString(error));
}

Status check(fp_attn_status status, std::string_view doing) {
  if (status == FP_ATTN_OK) return {};
  if (status == FP_ATTN_CUDA_ERROR) FP_TRY(check(cudaGetLastError(), doing));
  return refused(doing, "the attention kernel", fp_attn_status_name(status));
}

Status check(fp_kv_status status, std::string_view doing) {
  if (status == FP_KV_OK) return {};
  if (status == FP_KV_CUDA_ERROR) FP_TRY(check(cudaGetLastError(), doing));
  return refused(doing, "the KV kernel", fp_kv_status_name(status));
}

}  // namespace fieldprint::cuda
