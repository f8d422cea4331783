#include "runner/cuda/kv_pages.h"

#include <string>

#include "core/check.h"
#include "runner/cuda/status.h"

namespace fieldprint::cuda {
namespace {

constexpr std::size_t kElement = sizeof(std::uint16_t);

std::size_t layer_page_bytes(const ModelConfig& config) {
  return static_cast<std::size_t>(config.kv_heads) * kPageRows *
         static_cast<std::size_t>(config.head_dim) * kElement;
}

}  // namespace

std::size_t KvPages::page_bytes(const ModelConfig& config) {
  return 2 * layer_page_bytes(config) * static_cast<std::size_t>(config.layers);
}

Result<KvPages> KvPages::allocate(const ModelConfig& config, std::int32_t pages) {
  FP_CHECK(pages > 0 && config.layers <= FP_KV_MAX_LAYERS);
  KvPages made;
  const std::size_t pool_bytes = layer_page_bytes(config) * static_cast<std::size_t>(pages);
  const auto layers = static_cast<std::size_t>(config.layers);
  FP_ASSIGN(made.memory_, DeviceBuffer::allocate(2 * pool_bytes * layers, "the KV cache"));
  made.cache_.shape = {config.head_dim, config.heads, config.kv_heads, kPageRows};
  made.cache_.layers = config.layers;
  made.cache_.pages = pages;
  made.pools_.resize(layers);
  for (std::size_t i = 0; i < layers; ++i) {
    made.cache_.k[i] = made.memory_.data() + 2 * i * pool_bytes;
    made.cache_.v[i] = made.memory_.data() + (2 * i + 1) * pool_bytes;
    FP_TRY(check(fp_attn_make_pool(&made.cache_.shape, made.cache_.k[i], made.cache_.v[i], pages,
                                   &made.pools_[i]),
                 "laying out the KV cache"));
  }
  return made;
}

Status KvPages::copy(PageId from, PageId to, cudaStream_t stream) const {
  FP_CHECK(holds(from) && holds(to));
  const std::size_t bytes = elements(kPageRows) * kElement;
  for (int layer = 0; layer < cache_.layers; ++layer) {
    for (void* pool : {cache_.k[layer], cache_.v[layer]}) {
      auto* base = static_cast<std::byte*>(pool);
      FP_TRY(check(cudaMemcpyAsync(base + static_cast<std::size_t>(to) * bytes,
                                   base + static_cast<std::size_t>(from) * bytes, bytes,
                                   cudaMemcpyDeviceToDevice, stream),
                   "copying a page"));
    }
  }
  return {};
}

Status KvPages::check_page(int layer, PageId page, int rows) const {
  const bool ok =
      layer >= 0 && layer < cache_.layers && holds(page) && rows > 0 && rows <= kPageRows;
  if (ok) return {};
  return fail(ErrorKind::kInvalid, "page_out_of_range",
              "no rows 0.." + std::to_string(rows) + " in page " + std::to_string(page) +
                  " of layer " + std::to_string(layer));
}

std::size_t KvPages::elements(int rows) const {
  return static_cast<std::size_t>(cache_.shape.kv_heads) * static_cast<std::size_t>(rows) *
         static_cast<std::size_t>(cache_.shape.head_dim);
}

Result<PageRows> KvPages::read(int layer, PageId page, int rows, cudaStream_t stream) const {
  FP_TRY(check_page(layer, page, rows));
  FP_TRY(check(cudaStreamSynchronize(stream), "reading a page"));
  PageRows data;
  data.k.resize(elements(rows));
  data.v.resize(elements(rows));
  const std::size_t page_bytes = elements(kPageRows) * kElement;
  const auto head = page_bytes / static_cast<std::size_t>(cache_.shape.kv_heads);
  const auto wanted = head / kPageRows * static_cast<std::size_t>(rows);
  const std::size_t at = static_cast<std::size_t>(page) * page_bytes;
  for (const auto& [pool, to] :
       {std::pair{cache_.k[layer], data.k.data()}, std::pair{cache_.v[layer], data.v.data()}}) {
    FP_TRY(
        check(cudaMemcpy2D(to, wanted, static_cast<std::byte*>(pool) + at, head, wanted,
                           static_cast<std::size_t>(cache_.shape.kv_heads), cudaMemcpyDeviceToHost),
              "reading a page"));
  }
  return data;
}

Status KvPages::write(int layer, PageId page, int rows, const PageRows& data,
                      cudaStream_t stream) const {
  FP_TRY(check_page(layer, page, rows));
  if (data.k.size() != elements(rows) || data.v.size() != elements(rows)) {
    return fail(ErrorKind::kInvalid, "page_size_mismatch",
                "a page of " + std::to_string(rows) + " rows needs " +
                    std::to_string(elements(rows)) + " K and V values");
  }
  FP_TRY(check(cudaStreamSynchronize(stream), "writing a page"));
  const std::size_t page_bytes = elements(kPageRows) * kElement;
  const auto head = page_bytes / static_cast<std::size_t>(cache_.shape.kv_heads);
  const auto wanted = head / kPageRows * static_cast<std::size_t>(rows);
  const std::size_t at = static_cast<std::size_t>(page) * page_bytes;
  for (const auto& [pool, from] :
       {std::pair{cache_.k[layer], data.k.data()}, std::pair{cache_.v[layer], data.v.data()}}) {
    FP_TRY(
        check(cudaMemcpy2D(static_cast<std::byte*>(pool) + at, head, from, wanted, wanted,
                           static_cast<std::size_t>(cache_.shape.kv_heads), cudaMemcpyHostToDevice),
              "writing a page"));
  }
  return {};
}

}  // namespace fieldprint::cuda
