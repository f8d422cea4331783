// Arguments of the KV cache's kernels.
#pragma once

#include <cstdint>

#include "attention/cuda/kv_capi.h"

namespace fieldprint::cuda {

inline constexpr int kVectorElements = 8;  // bf16 in 16 bytes

struct AppendArgs {
  fp_kv_rope rope;
  fp_kv_tokens tokens;
  fp_kv_append_args rows;
  void* k_pool;
  void* v_pool;
  const std::uint32_t* pages;  // [batch][page_stride]
  const std::int32_t* page_counts;
  std::int32_t page_stride;
  std::int32_t batch;
  std::int32_t q_heads;  // 0 without queries
  std::int32_t kv_heads;
  std::int32_t log2_page_rows;
  std::int32_t pool_pages;
};

// Pointers by layer, in the kernel's constant bank.
struct LayerPools {
  void* k[FP_KV_MAX_LAYERS];
  void* v[FP_KV_MAX_LAYERS];
};

struct CopyArgs {
  LayerPools pools;
  const fp_kv_page_pair* pairs;
  const std::int32_t* count;
  std::uint32_t* status;
  std::int32_t max_pairs;
  std::int32_t layers;
  std::int32_t pool_pages;
  std::int32_t page_vectors;     // 16-byte vectors in a page of one pool
  std::int32_t chunks_per_page;  // of kCopyVectors
};

struct ScrubArgs {
  LayerPools pools;
  fp_kv_scrub scrub;
  std::int32_t layers;
  std::int32_t pool_pages;
  std::int32_t page_vectors;
  std::int32_t log2_row_vectors;
  std::int32_t log2_page_rows;
  std::int32_t first;  // pin: first place
};

}  // namespace fieldprint::cuda
