// Host code: cuts one allocation on the device into arrays.
#pragma once

#include <cstddef>

namespace fieldprint::cuda {

// Hands out consecutive aligned parts of an allocation; without one, only counts.
class Cutter {
 public:
  explicit Cutter(void* data = nullptr) : data_(static_cast<std::byte*>(data)) {}

  template <typename T>
  T* take(std::size_t count) {
    const std::size_t at = bytes_;
    bytes_ += (count * sizeof(T) + kAlign - 1) / kAlign * kAlign;
    return data_ == nullptr ? nullptr : reinterpret_cast<T*>(data_ + at);
  }
  std::size_t bytes() const { return bytes_; }

 private:
  static constexpr std::size_t kAlign = 256;
  std::byte* data_;
  std::size_t bytes_ = 0;
};

}  // namespace fieldprint::cuda
