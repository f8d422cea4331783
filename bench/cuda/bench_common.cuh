// What the benchmarks of the CUDA kernels share: checks, device arrays, timing.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

namespace fieldprint::bench {

#define MUST(call)                                                                      \
  do {                                                                                  \
    const int must_result = static_cast<int>(call);                                     \
    if (must_result != 0) {                                                             \
      std::fprintf(stderr, "%s:%d: %s = %d\n", __FILE__, __LINE__, #call, must_result); \
      std::exit(1);                                                                     \
    }                                                                                   \
  } while (false)

// Uniform bf16 in about [-1, 1); never NaN.
__global__ void fill_random(std::uint16_t* out, std::size_t count, std::uint32_t seed) {
  const std::size_t stride = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < count; i += stride) {
    std::uint64_t x = (i + 1) * 0x9E3779B97F4A7C15ULL + seed;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    const float value = static_cast<float>(static_cast<std::int32_t>(x >> 32)) * 0x1p-31F;
    out[i] = static_cast<std::uint16_t>(__float_as_uint(value) >> 16);
  }
}

template <typename T>
T* device_array(std::size_t count) {
  void* data = nullptr;
  MUST(cudaMalloc(&data, std::max<std::size_t>(count * sizeof(T), 256)));
  return static_cast<T*>(data);
}

template <typename T>
T* upload(const std::vector<T>& host) {
  T* data = device_array<T>(host.size());
  MUST(cudaMemcpy(data, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice));
  return data;
}

// Median microseconds of one `launch`, from replays of a graph of `launches`.
inline double time_us(int launches, const std::function<void(int, cudaStream_t)>& launch) {
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  cudaEvent_t start = nullptr;
  cudaEvent_t stop = nullptr;
  MUST(cudaStreamCreate(&stream));
  MUST(cudaEventCreate(&start));
  MUST(cudaEventCreate(&stop));
  MUST(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  for (int i = 0; i < launches; ++i) launch(i, stream);
  MUST(cudaStreamEndCapture(stream, &graph));
  MUST(cudaGraphInstantiate(&exec, graph, 0));
  std::vector<double> times;
  for (int replay = 0; replay < 9; ++replay) {
    MUST(cudaEventRecord(start, stream));
    MUST(cudaGraphLaunch(exec, stream));
    MUST(cudaEventRecord(stop, stream));
    MUST(cudaEventSynchronize(stop));
    float ms = 0.0F;
    MUST(cudaEventElapsedTime(&ms, start, stop));
    if (replay >= 2) times.push_back(1000.0 * static_cast<double>(ms) / launches);
  }
  std::sort(times.begin(), times.end());
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
  cudaEventDestroy(start);
  cudaEventDestroy(stop);
  return times[times.size() / 2];
}

}  // namespace fieldprint::bench
