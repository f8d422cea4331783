// The header of rows.safetensors: accepted offsets cover the file, in order, without a gap.
#include <span>

#include "anchor/safetensors.h"
#include "core/check.h"
#include "fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Sizes that a file with this header could have: as it is, and with tensor bytes behind it.
  for (const std::uint64_t file_size : {std::uint64_t{size}, std::uint64_t{size} + 64}) {
    const auto header = fieldprint::parse_safetensors_header(std::span(data, size), file_size);
    if (!header) {
      FP_CHECK(!header.error().code.empty());
      continue;
    }
    std::uint64_t end = 0;
    for (const fieldprint::TensorInfo& tensor : header->tensors) {
      FP_CHECK(tensor.begin == end && tensor.end >= tensor.begin);
      FP_CHECK(tensor.shape.size() <= fieldprint::kSafetensorsMaxRank);
      end = tensor.end;
    }
    FP_CHECK(header->data_start + end == file_size);
  }
  return 0;
}
