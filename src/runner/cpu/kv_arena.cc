#include "runner/cpu/kv_arena.h"

#include <cstring>

#include "core/check.h"

namespace fieldprint {

Result<KvArena> KvArena::allocate(const KvShape& shape, int layers, std::int32_t pages) {
  KvArena arena;
  arena.shape_ = shape;
  arena.layers_ = layers;
  arena.pages_ = pages;
  const std::size_t bytes =
      kv_page_bytes(shape) * static_cast<std::size_t>(layers) * static_cast<std::size_t>(pages);
  FP_ASSIGN(arena.memory_, HugeBuffer::allocate(bytes, "the KV cache"));
  return arena;
}

KvLayerView KvArena::layer(int layer) const {
  FP_CHECK(layer >= 0 && layer < layers_);
  const std::size_t stride = kv_page_bytes(shape_);
  const std::size_t offset =
      static_cast<std::size_t>(layer) * static_cast<std::size_t>(pages_) * stride;
  return {memory_.data() + offset, stride, shape_.dtype};
}

void KvArena::copy_page(PageId from, PageId to) const {
  FP_CHECK(holds(from) && holds(to));
  for (int l = 0; l < layers_; ++l) std::memcpy(page(l, to), page(l, from), kv_page_bytes(shape_));
}

}  // namespace fieldprint
