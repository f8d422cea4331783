#include "runner/cuda/device.h"

#include <string>

#include "runner/cuda/cuda_runner.h"
#include "runner/cuda/kernels.h"
#include "runner/cuda/memory.h"
#include "runner/cuda/status.h"

namespace fieldprint {
namespace cuda {

Result<cudaDeviceProp> find_device() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  cudaGetLastError();
  if (error != cudaSuccess || count == 0) {
    return fail(ErrorKind::kUnsupported, "cuda_no_device",
                std::string("no NVIDIA GPU can be used here (") + cudaGetErrorString(error) +
                    "); check the driver with nvidia-smi, or use --device cpu",
                "device");
  }
  cudaDeviceProp properties{};
  FP_TRY(check(cudaGetDeviceProperties(&properties, 0), "asking for the GPU's properties"));
  if (properties.major == 9 && properties.minor == 0) return properties;
  return fail(ErrorKind::kUnsupported, "cuda_device_unsupported",
              std::string(properties.name) + " has compute capability " +
                  std::to_string(properties.major) + "." + std::to_string(properties.minor) +
                  "; the kernels are built for 9.0 (H100, H200, GH200): choose another GPU with "
                  "CUDA_VISIBLE_DEVICES, or use --device cpu",
              "device");
}

Result<std::size_t> free_memory() {
  std::size_t free = 0;
  std::size_t total = 0;
  FP_TRY(check(cudaMemGetInfo(&free, &total), "asking for the GPU's free memory"));
  return free;
}

}  // namespace cuda

Result<double> cuda_read_rate() {
  FP_TRY(cuda::find_device());
  constexpr std::size_t kBytes = std::size_t{4} << 30;
  constexpr int kRuns = 6;  // the first warms up
  FP_ASSIGN(const cuda::DeviceBuffer memory, cuda::DeviceBuffer::allocate(kBytes, "reading it"));
  FP_TRY(cuda::check(cudaMemset(memory.data(), 1, kBytes), "filling memory"));
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  cudaEventCreate(&begin);
  cudaEventCreate(&end);
  float best = 0;  // milliseconds
  for (int i = 0; i < kRuns; ++i) {
    cudaEventRecord(begin, nullptr);
    cuda::read_all(memory.data(), kBytes, nullptr);
    cudaEventRecord(end, nullptr);
    cudaEventSynchronize(end);
    float took = 0;
    cudaEventElapsedTime(&took, begin, end);
    if (i > 0 && (best == 0 || took < best)) best = took;
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  FP_TRY(cuda::check(cudaGetLastError(), "reading memory"));
  return static_cast<double>(kBytes) / (double{best} / 1e3);
}

}  // namespace fieldprint
