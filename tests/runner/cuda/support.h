// A GPU runner beside the CPU's, and the same steps on both.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <string>
#include <vector>

#include "runner/cuda/cuda_runner.h"
#include "runner/support.h"

namespace fieldprint::test {

// Why tests cannot run here; empty if they can.
inline std::string missing_gpu() {
  int count = 0;
  cudaDeviceProp properties{};
  const bool found = cudaGetDeviceCount(&count) == cudaSuccess && count > 0 &&
                     cudaGetDeviceProperties(&properties, 0) == cudaSuccess;
  if (found && properties.major == 9 && properties.minor == 0) return {};
  return found ? std::string("needs a Hopper GPU, not ") + properties.name : "needs a Hopper GPU";
}

#define FP_NEEDS_GPU()                                         \
  do {                                                         \
    const std::string why = ::fieldprint::test::missing_gpu(); \
    if (!why.empty()) GTEST_SKIP() << why;                     \
  } while (false)

inline std::unique_ptr<Runner> open_cuda_runner(const std::string& path,
                                                CudaRunnerOptions options = {}) {
  if (options.kv_tokens == 0) options.kv_tokens = 16384;
  return must(make_cuda_runner(must(load_model(path)), options));
}

inline std::string temporary(const std::string& name) {
  return ::testing::TempDir() + "fp_cuda_" + name;
}

// |a - b| / |b|, by the Euclidean norm.
inline double relative_error(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return 1e30;
  double difference = 0;
  double size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += (double{a[i]} - double{b[i]}) * (double{a[i]} - double{b[i]});
    size += double{b[i]} * double{b[i]};
  }
  return std::sqrt(difference / std::max(size, 1e-30));
}

// A copy of what a step handed out.
struct KeptOutput {
  std::vector<float> logits, hidden, mass, tap_final, tap_layer;

  KeptOutput() = default;
  explicit KeptOutput(const StepOutput& out)
      : logits(out.logits.begin(), out.logits.end()),
        hidden(out.hidden.begin(), out.hidden.end()),
        mass(out.mass.begin(), out.mass.end()),
        tap_final(out.tap_final.begin(), out.tap_final.end()),
        tap_layer(out.tap_layer.begin(), out.tap_layer.end()) {}
};

}  // namespace fieldprint::test
