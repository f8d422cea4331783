// bfloat16 bit patterns: the upper half of an IEEE binary32.
#pragma once

#include <bit>
#include <cstdint>

namespace fieldprint {

// Round to nearest even. NaN stays NaN (quiet); overflow becomes infinity.
constexpr std::uint16_t bf16_from_float(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return static_cast<std::uint16_t>((bits >> 16) | 0x40U);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

constexpr float float_from_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

constexpr float round_to_bf16(float value) { return float_from_bf16(bf16_from_float(value)); }

}  // namespace fieldprint
