// KV memory on the device: per layer a K and a V pool, [page][kv_head][row][head_dim], bf16.
#pragma once

#include <cstdint>
#include <vector>

#include "attention/cuda/kv_capi.h"
#include "attention/plan.h"
#include "core/error.h"
#include "model/config.h"
#include "runner/cuda/memory.h"
#include "runner/runner.h"

namespace fieldprint::cuda {

class KvPages {
 public:
  // Errors: cuda_out_of_memory; cuda_error (the kernels refuse the shape).
  static Result<KvPages> allocate(const ModelConfig& config, std::int32_t pages);
  static std::size_t page_bytes(const ModelConfig& config);  // in all layers

  const fp_attn_pool& pool(int layer) const { return pools_[static_cast<std::size_t>(layer)]; }
  const fp_kv_cache& cache() const { return cache_; }
  std::int32_t pages() const { return cache_.pages; }
  bool holds(PageId page) const { return page >= 0 && page < cache_.pages; }

  // All layers, on the stream.
  Status copy(PageId from, PageId to, cudaStream_t stream) const;
  // The first rows of a page in one layer; both wait for the stream. Errors:
  // page_out_of_range, page_size_mismatch, cuda_error.
  Result<PageRows> read(int layer, PageId page, int rows, cudaStream_t stream) const;
  Status write(int layer, PageId page, int rows, const PageRows& data, cudaStream_t stream) const;

 private:
  Status check_page(int layer, PageId page, int rows) const;
  std::size_t elements(int rows) const;

  DeviceBuffer memory_;
  fp_kv_cache cache_{};
  std::vector<fp_attn_pool> pools_;
};

}  // namespace fieldprint::cuda
