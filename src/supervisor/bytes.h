// Little-endian integers and floats in byte strings. Internal to src/supervisor.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "core/check.h"

namespace fieldprint::bytes {

template <std::unsigned_integral T>
void put(std::string& out, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    out.push_back(static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i)));
  }
}
inline void put(std::string& out, std::span<const std::uint8_t> data) {
  out.append(reinterpret_cast<const char*>(data.data()), data.size());
}
inline void put_f32(std::string& out, float value) {
  put(out, std::bit_cast<std::uint32_t>(value));
}

// Reads from the front of a span that is known to be long enough.
class Cursor {
 public:
  explicit Cursor(std::span<const std::uint8_t> data) : data_(data) {}

  std::size_t left() const { return data_.size(); }
  std::span<const std::uint8_t> take(std::size_t count) {
    FP_CHECK(count <= data_.size());
    const auto taken = data_.first(count);
    data_ = data_.subspan(count);
    return taken;
  }
  template <typename T>
  T integer() {
    std::uint64_t value = 0;
    const auto taken = take(sizeof(T));
    for (std::size_t i = 0; i < sizeof(T); ++i) value |= std::uint64_t{taken[i]} << (8 * i);
    return static_cast<T>(value);
  }
  float f32() { return std::bit_cast<float>(integer<std::uint32_t>()); }
  template <typename Array>
  void copy_to(Array& out) {
    std::memcpy(out.data(), take(out.size()).data(), out.size());
  }

 private:
  std::span<const std::uint8_t> data_;
};

}  // namespace fieldprint::bytes
