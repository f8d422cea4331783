#include "runner/cpu/huge_buffer.h"

#include <sys/mman.h>

#include <cstdint>
#include <string>
#include <utility>

namespace fieldprint {
namespace {
constexpr std::size_t kHugePage = std::size_t{2} << 20;
}

Result<HugeBuffer> HugeBuffer::allocate(std::size_t bytes, const char* what) {
  HugeBuffer buffer;
  if (bytes == 0) return buffer;
  // Reserve one huge page more than needed, then trim to an aligned range.
  const std::size_t rounded = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  void* raw = mmap(nullptr, rounded + kHugePage, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) {
    return fail(ErrorKind::kExhausted, "memory_exhausted",
                "cannot reserve " + std::to_string(rounded >> 20) + " MiB for " + what +
                    "; use a smaller model or fewer --kv-tokens");
  }
  auto* start = static_cast<std::byte*>(raw);
  const auto misaligned = reinterpret_cast<std::uintptr_t>(start) % kHugePage;
  const std::size_t head = misaligned == 0 ? 0 : kHugePage - misaligned;
  if (head > 0) munmap(start, head);
  munmap(start + head + rounded, kHugePage - head);
  buffer.data_ = start + head;
  buffer.size_ = rounded;
  madvise(buffer.data_, rounded, MADV_HUGEPAGE);  // a hint: fine if refused
  return buffer;
}

HugeBuffer::~HugeBuffer() {
  if (data_ != nullptr) munmap(data_, size_);
}

HugeBuffer::HugeBuffer(HugeBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

HugeBuffer& HugeBuffer::operator=(HugeBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace fieldprint
