// Memory of all KV pages of a CPU runner: [layer][page], each page as
// attention/cpu/kv_layout.h says. Physical memory is taken as pages are first written.
#pragma once

#include "attention/cpu/kv_layout.h"
#include "core/error.h"
#include "runner/cpu/huge_buffer.h"

namespace fieldprint {

class KvArena {
 public:
  // Errors: memory_exhausted.
  static Result<KvArena> allocate(const KvShape& shape, int layers, std::int32_t pages);

  KvLayerView layer(int layer) const;
  std::byte* page(int layer, PageId page) const { return kv_page_base(this->layer(layer), page); }
  void copy_page(PageId from, PageId to) const;

  const KvShape& shape() const { return shape_; }
  std::int32_t pages() const { return pages_; }
  bool holds(PageId page) const { return page >= 0 && page < pages_; }

 private:
  HugeBuffer memory_;
  KvShape shape_;
  int layers_ = 0;
  std::int32_t pages_ = 0;
};

}  // namespace fieldprint
