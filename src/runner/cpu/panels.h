// Products with Q4_1 and Q8_0 weights on AVX-512 VNNI. ggml has no repacked kernel for
// these types on x86 and computes one dot product at a time; docs/decisions/0009 has
// the measurements.
//
// A block is 32 weights of a row: Q4_1 w_i = d q_i + m with q_i in 0..15, Q8_0
// w_i = d q_i with q_i in -127..127; d and m in half precision. Activations are
// rounded to 8 bits per 32: x_i = e a_i. A block's share of a product is
//   sum w_i x_i = d e sum(q_i a_i) [+ m e sum(a_i)],
// the sums in exact integers. Blocks are added in ascending order, so a result depends
// on its weight row and its activation row only: the same bits in any batch, on any
// number of threads.
//
// Packed form: panels of 16 rows, the lanes of a register of floats. A panel holds the
// quads of all its blocks (byte 4 r + i of a quad: column 4 j + i of row r), then d of
// all blocks [blocks][16], then m. As many bytes as the original.
//   Q4_1  4 quads a block; low nibbles hold columns 4 j.., high ones 16 + 4 j..
//   Q8_0  8 quads a block; bytes are q_i + 128, as the instruction wants them unsigned
#pragma once

#include <cstddef>
#include <cstdint>

namespace fieldprint::panels {

inline constexpr int kBlock = 32;
inline constexpr int kPanelRows = 16;

enum class Format : std::uint8_t { kQ41, kQ80 };

struct PackedMatrix {
  Format format = Format::kQ41;
  const std::byte* data = nullptr;  // [rows / 16] panels, 64-byte aligned
  std::int64_t rows = 0;
  std::int64_t columns = 0;
};

// Activations of a step, 8 bits per element.
struct QuantisedRows {
  std::int8_t* values = nullptr;  // [rows][columns]
  float* scale = nullptr;         // [rows][columns / 32]: e
  float* scaled_total = nullptr;  // [rows][columns / 32]: e sum(a_i)
  std::int32_t* total = nullptr;  // [rows][columns / 32]: sum(a_i)
};

// Whether this machine can run quantise() and product(); else leave it to ggml.
bool available();

// Shapes that can be packed: rows a multiple of 16, columns of 64 (so that quads of
// every panel are aligned).
constexpr bool packable(std::int64_t rows, std::int64_t columns) {
  return rows % kPanelRows == 0 && columns % (2 * kBlock) == 0;
}

// Bytes of one panel.
constexpr std::size_t panel_bytes(Format format, std::int64_t columns) {
  return static_cast<std::size_t>(columns / kBlock * kPanelRows) *
         (format == Format::kQ41 ? 20U : 34U);
}

// From ggml's row-major blocks to panels at `to`.
void pack(Format format, const std::byte* blocks, std::int64_t rows, std::int64_t columns,
          std::byte* to);

// Row `row` of the matrix as floats, [columns].
void unpack_row(const PackedMatrix& matrix, std::int64_t row, float* out);

// Blocks begin..end of row `row` of x [columns]: round to nearest, e = max|x| / 127.
void quantise(const float* x, std::int64_t columns, std::int64_t row, std::int64_t begin,
              std::int64_t end, const QuantisedRows& to);

// out[t * out_stride + row] for all rows of panels begin..end and tokens 0..tokens-1.
void product(const PackedMatrix& weight, const QuantisedRows& x, std::int64_t tokens,
             std::int64_t begin, std::int64_t end, float* out, std::int64_t out_stride);

// Internal: pointers into one panel.
struct PanelView {
  std::uint8_t* quads;  // [blocks][4 or 8][64]
  std::uint16_t* d;     // [blocks][16]
  std::uint16_t* m;     // [blocks][16], Q4_1 only
};
inline PanelView panel_view(Format format, std::byte* panel, std::int64_t columns) {
  const std::int64_t blocks = columns / kBlock;
  auto* quads = reinterpret_cast<std::uint8_t*>(panel);
  auto* d = reinterpret_cast<std::uint16_t*>(quads + blocks * (format == Format::kQ41 ? 256 : 512));
  return {quads, d, d + blocks * kPanelRows};
}

}  // namespace fieldprint::panels
