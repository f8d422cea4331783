// Time of the runner's products on a GPU for the shapes of an 8B llama: what a decode step or a
// prompt's chunk spends in them, beside the time in which the weights alone can be read.
//
// usage: cuda_products_bench [ROWS...]
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "runner/cuda/cuda_runner.h"
#include "runner/cuda/memory.h"
#include "runner/cuda/products.h"

namespace fieldprint::cuda {
namespace {

struct Shape {
  const char* name;
  std::int32_t outputs;
  std::int32_t inputs;
  ProductOutput output;
  bool gated;
  int per_token;  // how often a step computes it
};
constexpr Shape kShapes[] = {{"qkv", 6144, 4096, ProductOutput::kBf16, false, 32},
                             {"attention output", 4096, 4096, ProductOutput::kAddF32, false, 32},
                             {"gate and up", 28672, 4096, ProductOutput::kBf16, true, 32},
                             {"down", 4096, 14336, ProductOutput::kAddF32, false, 32},
                             {"output head", 128256, 4096, ProductOutput::kF32, false, 1}};
constexpr std::size_t kBytes = std::size_t{3} << 30;  // weights in turn, so that no cache helps

template <typename T>
T must(Result<T> result) {
  if (result) return std::move(*result);
  std::fprintf(stderr, "%s: %s\n", result.error().code.c_str(), result.error().message.c_str());
  std::exit(1);
}
void must(const Status& status) {
  if (status) return;
  std::fprintf(stderr, "%s: %s\n", status.error().code.c_str(), status.error().message.c_str());
  std::exit(1);
}

struct Memory {
  DeviceBuffer weights = must(DeviceBuffer::allocate(kBytes, "weights"));
  DeviceBuffer x = must(DeviceBuffer::allocate(std::size_t{4096} * 14336 * 2, "x"));
  DeviceBuffer y = must(DeviceBuffer::allocate(std::size_t{256} * 128256 * 4, "y"));
  DeviceBuffer scratch = must(DeviceBuffer::allocate(std::size_t{4096} * 28672 * 2, "scratch"));
  Stream stream = must(Stream::create());
};

// Microseconds of one product, the mean of many in a row.
double time_of(Products& products, const Memory& memory, const Shape& shape, int rows) {
  const std::size_t each =
      static_cast<std::size_t>(shape.outputs) * static_cast<std::size_t>(shape.inputs) * 2;
  const int turns = static_cast<int>(kBytes / each);
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  cudaEventCreate(&begin);
  cudaEventCreate(&end);
  double best = 1e30;
  for (int run = 0; run < 4; ++run) {
    cudaEventRecord(begin, memory.stream.get());
    for (int i = 0; i < turns; ++i) {
      const Matrix weight{memory.weights.data() + static_cast<std::size_t>(i) * each, shape.outputs,
                          shape.inputs};
      must(shape.gated ? products.gated(weight, memory.x.data(), rows, memory.scratch.data(),
                                        memory.y.data(), GateKind::kSilu, memory.stream.get())
                       : products.run(weight, memory.x.data(), rows, memory.y.data(), shape.output,
                                      memory.stream.get()));
    }
    cudaEventRecord(end, memory.stream.get());
    cudaEventSynchronize(end);
    float took = 0;
    cudaEventElapsedTime(&took, begin, end);
    if (run > 0) best = std::min(best, double{took} * 1e3 / turns);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  return best;
}

int run(const std::vector<int>& row_counts) {
  const double limit = must(cuda_read_rate());
  const auto products = must(make_products(NumericProfile::kFast));
  const Memory memory;
  cudaMemset(memory.weights.data(), 0x3C, memory.weights.size());
  cudaMemset(memory.x.data(), 0x3D, memory.x.size());
  std::printf("read limit %.0f GB/s, %s\n", limit / 1e9, products->name());
  std::printf("%6s  %-18s %10s %9s %9s %8s\n", "rows", "product", "us", "GB/s", "TFLOP/s",
              "of limit");
  for (const int rows : row_counts) {
    double step = 0;
    for (const Shape& shape : kShapes) {
      if (shape.per_token == 1 && rows > 256) continue;
      const double us = time_of(*products, memory, shape, rows);
      const double values = double{1} * shape.outputs * shape.inputs;
      std::printf("%6d  %-18s %10.1f %9.0f %9.1f %7.0f%%\n", rows, shape.name, us,
                  values * 2 / us / 1e3, values * 2 * rows / us / 1e6,
                  100 * values * 2 / us * 1e6 / limit);
      step += us * shape.per_token;
    }
    std::printf("%6d  %-18s %10.1f\n", rows, "a step's", step);
  }
  return 0;
}

}  // namespace
}  // namespace fieldprint::cuda

int main(int argc, char** argv) {
  std::vector<int> rows;
  for (int i = 1; i < argc; ++i) rows.push_back(std::atoi(argv[i]));
  if (rows.empty()) rows = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 2048};
  for (const int count : rows) {
    if (count < 1 || count > 4096) {
      std::fprintf(stderr, "usage: cuda_products_bench [ROWS...], each 1..4096\n");
      return 2;
    }
  }
  return fieldprint::cuda::run(rows);
}
