// A small, strict reader and writer of the safetensors container.
//
// Layout: u64 little-endian header length n, n bytes of JSON, then the tensors' bytes.
// The JSON maps a tensor's name to {"dtype","shape","data_offsets":[begin,end]}, offsets
// counted from the end of the header, and may hold "__metadata__" (string to string).
// Stricter than the format: only BF16 and F32; offsets cover the data without gap or
// overlap; no duplicate names. Format: github.com/huggingface/safetensors.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"

namespace fieldprint {

inline constexpr std::size_t kSafetensorsMaxHeader = std::size_t{1} << 20;  // bytes of JSON
inline constexpr std::size_t kSafetensorsMaxTensors = 1024;
inline constexpr std::size_t kSafetensorsMaxRank = 8;

enum class TensorType : std::uint8_t { kBf16, kF32 };
std::size_t tensor_type_size(TensorType type);  // bytes of one element
const char* tensor_type_name(TensorType type);  // "BF16", "F32"

struct TensorInfo {
  std::string name;
  TensorType type = TensorType::kF32;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;  // bytes from the end of the header
  std::uint64_t end = 0;
};

struct SafetensorsHeader {
  std::uint64_t data_start = 0;     // offset of the first tensor's bytes in the file
  std::vector<TensorInfo> tensors;  // by ascending offset; they cover the rest of the file
  std::map<std::string, std::string> metadata;
};

// Reads the header. `bytes` is the start of a file, at least the whole header of it;
// file_size is the file's. Never reads past `bytes`. Fuzz entry point.
// Errors: safetensors_truncated, safetensors_too_large, safetensors_invalid,
// safetensors_unsupported (another dtype).
Result<SafetensorsHeader> parse_safetensors_header(std::span<const std::uint8_t> bytes,
                                                   std::uint64_t file_size);

// Lays the tensors out in the given order, setting begin and end, and returns the
// header's bytes, padded with spaces to a multiple of 8. Names must be distinct
// printable ASCII; a bug otherwise.
std::string layout_safetensors(std::vector<TensorInfo>& tensors);

}  // namespace fieldprint
