#include "runner/cpu/panels.h"

#include <ggml.h>

#include <cstring>

namespace fieldprint::panels {
namespace {

// ggml's blocks, a file format. Q4_1: low nibbles hold columns 0..15, high ones 16..31.
struct BlockQ41 {
  std::uint16_t d;
  std::uint16_t m;
  std::uint8_t quants[16];
};
static_assert(sizeof(BlockQ41) == 20, "layout of the GGUF file");
struct BlockQ80 {
  std::uint16_t d;
  std::int8_t quants[32];
};
static_assert(sizeof(BlockQ80) == 34, "layout of the GGUF file");

// Where column c's byte of row lane r lies within a block's quads.
constexpr std::int64_t quad_byte(std::int64_t column, std::int64_t lane) {
  return column / 4 * 64 + 4 * lane + column % 4;
}

void pack_block(const BlockQ41& from, const PanelView& to, std::int64_t block, std::int64_t lane) {
  to.d[block * kPanelRows + lane] = from.d;
  to.m[block * kPanelRows + lane] = from.m;
  std::uint8_t* quads = to.quads + block * 256;
  for (std::int64_t c = 0; c < 16; ++c) quads[quad_byte(c, lane)] = from.quants[c];
}

void pack_block(const BlockQ80& from, const PanelView& to, std::int64_t block, std::int64_t lane) {
  to.d[block * kPanelRows + lane] = from.d;
  std::uint8_t* quads = to.quads + block * 512;
  for (std::int64_t c = 0; c < kBlock; ++c) {
    quads[quad_byte(c, lane)] = static_cast<std::uint8_t>(from.quants[c] + 128);
  }
}

template <typename Block>
void pack_rows(Format format, const std::byte* blocks, std::int64_t rows, std::int64_t columns,
               std::byte* to) {
  const std::int64_t per_row = columns / kBlock;
  const std::size_t bytes = panel_bytes(format, columns);
  for (std::int64_t row = 0; row < rows; ++row) {
    const PanelView panel =
        panel_view(format, to + static_cast<std::size_t>(row / kPanelRows) * bytes, columns);
    for (std::int64_t b = 0; b < per_row; ++b) {
      Block from;
      std::memcpy(&from, blocks + (row * per_row + b) * static_cast<std::int64_t>(sizeof from),
                  sizeof from);
      pack_block(from, panel, b, row % kPanelRows);
    }
  }
}

}  // namespace

bool available() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}

void pack(Format format, const std::byte* blocks, std::int64_t rows, std::int64_t columns,
          std::byte* to) {
  if (format == Format::kQ41) {
    pack_rows<BlockQ41>(format, blocks, rows, columns, to);
  } else {
    pack_rows<BlockQ80>(format, blocks, rows, columns, to);
  }
}

void unpack_row(const PackedMatrix& matrix, std::int64_t row, float* out) {
  const std::size_t bytes = panel_bytes(matrix.format, matrix.columns);
  const std::byte* at = matrix.data + static_cast<std::size_t>(row / kPanelRows) * bytes;
  const PanelView panel = panel_view(matrix.format, const_cast<std::byte*>(at), matrix.columns);
  const std::int64_t lane = row % kPanelRows;
  for (std::int64_t b = 0; b < matrix.columns / kBlock; ++b) {
    const float d = ggml_fp16_to_fp32(panel.d[b * kPanelRows + lane]);
    for (std::int64_t c = 0; c < kBlock; ++c) {
      if (matrix.format == Format::kQ80) {
        out[b * kBlock + c] =
            d * static_cast<float>(panel.quads[b * 512 + quad_byte(c, lane)] - 128);
        continue;
      }
      const std::uint8_t pair = panel.quads[b * 256 + quad_byte(c % 16, lane)];
      const float m = ggml_fp16_to_fp32(panel.m[b * kPanelRows + lane]);
      out[b * kBlock + c] = d * static_cast<float>(c < 16 ? pair & 15 : pair >> 4) + m;
    }
  }
}

}  // namespace fieldprint::panels
