// Launches of the KV cache's kernels. The only file that instantiates them.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstring>

#include "attention/cuda/device.h"
#include "attention/cuda/kernels/append.cuh"
#include "attention/cuda/kernels/copy_pages.cuh"
#include "attention/cuda/kernels/scrub.cuh"
#include "attention/cuda/kv_capi.h"
#include "attention/cuda/kv_check.h"

namespace fieldprint::cuda {
namespace {

int log2_of(int power) {
  int log2 = 0;
  while (1 << log2 < power) ++log2;
  return log2;
}

fp_kv_status device_status() {
  switch (current_device().status) {
    case FP_ATTN_OK:
      return FP_KV_OK;
    case FP_ATTN_NO_DEVICE:
      return FP_KV_NO_DEVICE;
    case FP_ATTN_UNSUPPORTED_DEVICE:
      return FP_KV_UNSUPPORTED_DEVICE;
    default:
      return FP_KV_CUDA_ERROR;
  }
}

fp_kv_status launch_status() {
  return cudaGetLastError() == cudaSuccess ? FP_KV_OK : FP_KV_CUDA_ERROR;
}

std::int32_t page_vectors(const fp_attn_shape& shape) {
  return shape.kv_heads * shape.page_rows * (shape.head_dim / kVectorElements);
}

LayerPools layer_pools(const fp_kv_cache& cache) {
  LayerPools pools{};
  const auto layers = static_cast<std::size_t>(cache.layers);
  std::memcpy(pools.k, cache.k, layers * sizeof(void*));
  std::memcpy(pools.v, cache.v, layers * sizeof(void*));
  return pools;
}

AppendArgs append_args(const fp_kv_cache& cache, std::int32_t layer, const fp_attn_tables& tables,
                       const fp_kv_tokens& tokens, const fp_kv_rope& rope,
                       const fp_kv_append_args& rows) {
  AppendArgs args{};
  args.rope = rope;
  args.tokens = tokens;
  args.rows = rows;
  args.k_pool = cache.k[layer];
  args.v_pool = cache.v[layer];
  args.pages = tables.pages;
  args.page_counts = tables.page_counts;
  args.page_stride = tables.page_stride;
  args.batch = tables.batch;
  args.q_heads = rows.q == nullptr ? 0 : cache.shape.q_heads;
  args.kv_heads = cache.shape.kv_heads;
  args.log2_page_rows = log2_of(cache.shape.page_rows);
  args.pool_pages = cache.pages;
  return args;
}

ScrubArgs scrub_args(const fp_kv_cache& cache, const fp_kv_scrub& scrub, std::int32_t first) {
  ScrubArgs args{};
  args.pools = layer_pools(cache);
  args.scrub = scrub;
  args.layers = cache.layers;
  args.pool_pages = cache.pages;
  args.page_vectors = page_vectors(cache.shape);
  args.log2_row_vectors = log2_of(cache.shape.head_dim / kVectorElements);
  args.log2_page_rows = log2_of(cache.shape.page_rows);
  args.first = first;
  return args;
}

}  // namespace
}  // namespace fieldprint::cuda

using namespace fieldprint::cuda;  // the C functions below are thin

fp_kv_status fp_kv_append(const fp_kv_cache* cache, int32_t layer, const fp_attn_tables* tables,
                          const fp_kv_tokens* tokens, const fp_kv_rope* rope,
                          const fp_kv_append_args* args, void* stream_handle) {
  fp_kv_status status = check_append(cache, layer, tables, tokens, rope, args);
  if (status == FP_KV_OK) status = device_status();
  if (status != FP_KV_OK || tokens->tokens == 0) return status;
  const AppendArgs append = append_args(*cache, layer, *tables, *tokens, *rope, *args);
  cudaLaunchAttribute overlap{};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(tokens->tokens));
  config.blockDim = dim3(kAppendThreads);
  config.stream = static_cast<cudaStream_t>(stream_handle);
  config.attrs = &overlap;
  config.numAttrs = 1;
  if (cache->shape.head_dim == 64) {
    cudaLaunchKernelEx(&config, append_kernel<64>, append);
  } else if (cache->shape.head_dim == 128) {
    cudaLaunchKernelEx(&config, append_kernel<128>, append);
  } else {
    cudaLaunchKernelEx(&config, append_kernel<256>, append);
  }
  return launch_status();
}

fp_kv_status fp_kv_copy_pages(const fp_kv_cache* cache, const fp_kv_page_pair* pairs,
                              const int32_t* count, int32_t max_pairs, uint32_t* status_word,
                              void* stream) {
  fp_kv_status status = check_copies(cache, pairs, count, max_pairs, status_word);
  if (status == FP_KV_OK) status = device_status();
  if (status != FP_KV_OK) return status;
  CopyArgs args{};
  args.pools = layer_pools(*cache);
  args.pairs = pairs;
  args.count = count;
  args.status = status_word;
  args.max_pairs = max_pairs;
  args.layers = cache->layers;
  args.pool_pages = cache->pages;
  args.page_vectors = page_vectors(cache->shape);
  args.chunks_per_page = (args.page_vectors + kCopyVectors - 1) / kCopyVectors;
  const std::int64_t chunks = std::int64_t{max_pairs} * args.layers * 2 * args.chunks_per_page;
  const std::int64_t most = std::int64_t{kCopyCtas * kCopyWaves} * current_device().multiprocessors;
  copy_pages_kernel<<<static_cast<unsigned>(std::min(chunks, most)), kCopyThreads, 0,
                      static_cast<cudaStream_t>(stream)>>>(args);
  return launch_status();
}

fp_kv_status fp_kv_scrub_pin(const fp_kv_cache* cache, const fp_kv_scrub* scrub, int32_t first,
                             int32_t count, void* stream) {
  fp_kv_status status = check_scrub(cache, scrub);
  if (status != FP_KV_OK) return status;
  if (first < 0 || count < 0 || count > scrub->max_pins - first) return FP_KV_BAD_SHAPE;
  status = device_status();
  if (status != FP_KV_OK || count == 0) return status;
  scrub_pin_kernel<<<static_cast<unsigned>(count * cache->layers), kScrubThreads, 0,
                     static_cast<cudaStream_t>(stream)>>>(scrub_args(*cache, *scrub, first));
  return launch_status();
}

fp_kv_status fp_kv_scrub_step(const fp_kv_cache* cache, const fp_kv_scrub* scrub, int32_t units,
                              void* stream) {
  fp_kv_status status = check_scrub(cache, scrub);
  if (status != FP_KV_OK) return status;
  constexpr std::int32_t kMaxUnits = 65535;
  if (units <= 0 || units > kMaxUnits) return FP_KV_BAD_SHAPE;
  status = device_status();
  if (status != FP_KV_OK) return status;
  scrub_step_kernel<<<static_cast<unsigned>(units), kScrubThreads, 0,
                      static_cast<cudaStream_t>(stream)>>>(scrub_args(*cache, *scrub, 0));
  return launch_status();
}
