// A KV cache on the device for tests: host copies of all layers' pools beside the real ones.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "attention/cuda/device_array.h"
#include "attention/cuda/kv_capi.h"

namespace fieldprint::testing {

class KvTestCache {
 public:
  KvTestCache(const fp_attn_shape& shape, int layers, int pages, std::uint64_t seed = 1) {
    cache.shape = shape;
    cache.layers = layers;
    cache.pages = pages;
    std::mt19937_64 rng(seed);
    for (int pool = 0; pool < 2 * layers; ++pool) {
      std::vector<std::uint16_t> data(static_cast<std::size_t>(pages) * page_elements());
      for (std::uint16_t& x : data) x = static_cast<std::uint16_t>(rng());
      host.push_back(std::move(data));
      device.push_back(std::make_unique<DeviceArray<std::uint16_t>>(host.back()));
      (pool % 2 == 0 ? cache.k : cache.v)[pool / 2] = device.back()->get();
    }
  }

  std::size_t page_elements() const {
    return static_cast<std::size_t>(cache.shape.kv_heads) *
           static_cast<std::size_t>(cache.shape.page_rows * cache.shape.head_dim);
  }
  // Of a pool: K of layer l is 2 l, V is 2 l + 1.
  std::vector<std::uint16_t> download(int pool) const {
    return device[static_cast<std::size_t>(pool)]->download(
        host[static_cast<std::size_t>(pool)].size());
  }
  void upload(int pool) {
    device[static_cast<std::size_t>(pool)]->upload(host[static_cast<std::size_t>(pool)]);
  }
  // Element 0 of a row in a pool.
  std::size_t row_at(int page, int head, int row) const {
    const fp_attn_shape& s = cache.shape;
    return static_cast<std::size_t>((page * s.kv_heads + head) * s.page_rows + row) *
           static_cast<std::size_t>(s.head_dim);
  }

  fp_kv_cache cache{};
  std::vector<std::vector<std::uint16_t>> host;
  std::vector<std::unique_ptr<DeviceArray<std::uint16_t>>> device;
};

inline std::uint32_t pack_entry(int page, int cls, int rows) {
  return static_cast<std::uint32_t>(page) << 9 | static_cast<std::uint32_t>(cls) << 6 |
         static_cast<std::uint32_t>(rows - 1);
}

// A graph of what `launch` puts on its stream; replay() waits for it.
class TestGraph {
 public:
  template <typename Launch>
  explicit TestGraph(Launch launch) {
    EXPECT_EQ(cudaStreamCreate(&stream_), cudaSuccess);
    EXPECT_EQ(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal), cudaSuccess);
    launch(stream_);
    EXPECT_EQ(cudaStreamEndCapture(stream_, &graph_), cudaSuccess);
    EXPECT_EQ(cudaGraphInstantiate(&exec_, graph_, 0), cudaSuccess);
  }
  ~TestGraph() {
    cudaGraphExecDestroy(exec_);
    cudaGraphDestroy(graph_);
    cudaStreamDestroy(stream_);
  }
  TestGraph(const TestGraph&) = delete;
  TestGraph& operator=(const TestGraph&) = delete;

  void replay() {
    EXPECT_EQ(cudaGraphLaunch(exec_, stream_), cudaSuccess);
    EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  }

 private:
  cudaStream_t stream_ = nullptr;
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t exec_ = nullptr;
};

}  // namespace fieldprint::testing
