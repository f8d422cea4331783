// Products with Q4_1 weights on AVX-512 VNNI. ggml has no repacked kernel for this
// type and computes one dot product at a time; measured in docs/decisions/0009.
//
// A Q4_1 block is 32 weights w_i = d q_i + m with q_i in 0..15 and half-precision d, m.
// Activations are rounded to 8 bits per 32: x_i = e a_i. A block's share of a product is
//   sum w_i x_i = d e sum(q_i a_i) + m e sum(a_i),
// the first sum in exact integers. Blocks are added in ascending order, so a result
// depends on its weight row and its activation row only: the same bits in any batch,
// on any number of threads.
//
// Packed form: panels of 16 rows; for each block of 32 columns one PanelBlock, whose
// lanes are the 16 rows. As many bytes as the original.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fieldprint::q4_1 {

inline constexpr int kBlock = 32;      // columns that share d and m
inline constexpr int kPanelRows = 16;  // one AVX-512 register of floats

struct PanelBlock {
  // Byte 4 r + i of quads[j]: low nibble column 4 j + i, high nibble column 16 + 4 j + i
  // of row r.
  std::uint8_t quads[4][64];
  std::uint16_t d[kPanelRows];  // half precision
  std::uint16_t m[kPanelRows];
};
static_assert(sizeof(PanelBlock) == 320, "as many bytes as 16 ggml blocks of 20");

struct PackedMatrix {
  const PanelBlock* panels = nullptr;  // [rows / 16][columns / 32], 64-byte aligned
  std::int64_t rows = 0;
  std::int64_t columns = 0;
};

// Activations of a step, 8 bits per element.
struct QuantisedRows {
  std::int8_t* values = nullptr;  // [rows][columns]
  float* scale = nullptr;         // [rows][columns / 32]: e
  float* sum = nullptr;           // [rows][columns / 32]: e sum(a_i)
};

// Whether this machine can run product(); else use ggml's.
bool available();

// From ggml's row-major blocks to panels; rows a multiple of 16, columns of 32.
void pack(const std::byte* blocks, std::int64_t rows, std::int64_t columns, PanelBlock* panels);

// Blocks begin..end of row `row` of x [columns]: round to nearest, e = max|x| / 127.
void quantise(const float* x, std::int64_t columns, std::int64_t row, std::int64_t begin,
              std::int64_t end, const QuantisedRows& to);

// out[t * out_stride + row] for all rows of panels begin..end and tokens 0..tokens-1.
// Precondition: available().
void product(const PackedMatrix& weight, const QuantisedRows& x, std::int64_t tokens,
             std::int64_t begin, std::int64_t end, float* out, std::int64_t out_stride);

}  // namespace fieldprint::q4_1
