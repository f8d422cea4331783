// Zeroed, 2 MiB-aligned memory that asks for huge pages: weights and KV pages are
// streamed, and 4 KiB pages would cost a TLB miss every few rows.
#pragma once

#include <cstddef>

#include "core/error.h"

namespace fieldprint {

class HugeBuffer {
 public:
  // Errors: memory_exhausted, naming `what` and the size.
  static Result<HugeBuffer> allocate(std::size_t bytes, const char* what);

  HugeBuffer() = default;
  ~HugeBuffer();
  HugeBuffer(HugeBuffer&& other) noexcept;
  HugeBuffer& operator=(HugeBuffer&& other) noexcept;

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace fieldprint
