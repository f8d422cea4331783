// Secret bytes, random bytes, comparison in constant time (libsodium).
//
// Thread rule: free functions may be called from any thread; a SecretBytes belongs to one
// thread at a time, or is only read.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/error.h"

namespace fieldprint {

// A buffer of fixed size on pages of its own: kept out of core dumps and, as far as the limit
// on locked memory allows, out of swap; wiped when it goes. Never print it.
class SecretBytes {
 public:
  explicit SecretBytes(std::size_t size = 0);  // zeroed
  ~SecretBytes();
  SecretBytes(SecretBytes&& other) noexcept;
  SecretBytes& operator=(SecretBytes&& other) noexcept;
  SecretBytes(const SecretBytes&) = delete;
  SecretBytes& operator=(const SecretBytes&) = delete;

  static SecretBytes copy_of(std::span<const std::uint8_t> bytes);
  static SecretBytes copy_of(std::string_view bytes);

  std::uint8_t* data() { return data_; }
  const std::uint8_t* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::span<std::uint8_t> span() { return {data_, size_}; }
  std::span<const std::uint8_t> span() const { return {data_, size_}; }
  // Valid as long as the buffer; do not copy it into a std::string.
  std::string_view view() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
};

// Overwrites memory in a way that no optimiser removes.
void wipe(std::span<std::uint8_t> bytes);

// From the operating system's generator.
void random_bytes(std::span<std::uint8_t> out);
template <std::size_t N>
std::array<std::uint8_t, N> random_array() {
  std::array<std::uint8_t, N> bytes;
  random_bytes(bytes);
  return bytes;
}

// Time depends on the lengths only; different lengths are unequal.
bool constant_time_equal(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b);

}  // namespace fieldprint
