// How K and V of one page lie in memory on the CPU: this header is the only place
// that knows. Lanes are tokens for K and dimensions for V, so that a kernel never
// needs a horizontal sum.
//
//   page of one layer = kv_heads x (K block, V block)
//   kBf16  K block [head_dim/2][16 rows][2]   V block [8 row pairs][head_dim][2]
//   kF32   K block [head_dim][16 rows]        V block [16 rows][head_dim]
//
// The bf16 blocks hold pairs as vdpbf16ps wants them (two dimensions of K, two
// rows of V). kF32 exists for tests of the mathematics without bf16 rounding.
//
// Units: bytes unless said. All pointers must be 64-byte aligned page bases.
// Thread rule: functions touch only the page given; distinct rows of one page may
// not be written concurrently (row pairs of V share words).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "attention/plan.h"

namespace fieldprint {

enum class KvDtype : std::uint8_t { kBf16, kF32 };

struct KvShape {
  int kv_heads = 0;
  int head_dim = 0;  // a multiple of 16
  KvDtype dtype = KvDtype::kBf16;
};

constexpr std::size_t kv_element_bytes(KvDtype dtype) { return dtype == KvDtype::kBf16 ? 2 : 4; }
// Bytes of one block: K or V of one KV head of a page. A multiple of 64.
constexpr std::size_t kv_block_bytes(const KvShape& shape) {
  return static_cast<std::size_t>(kPageRows) * static_cast<std::size_t>(shape.head_dim) *
         kv_element_bytes(shape.dtype);
}
// Bytes of one page in one layer, all KV heads.
constexpr std::size_t kv_page_bytes(const KvShape& shape) {
  return 2 * static_cast<std::size_t>(shape.kv_heads) * kv_block_bytes(shape);
}
// Offset of a KV head's K block within the page; its V block follows directly.
constexpr std::size_t kv_head_offset(const KvShape& shape, int kv_head) {
  return 2 * static_cast<std::size_t>(kv_head) * kv_block_bytes(shape);
}

// All pages of one layer: page p starts at base + p * page_stride_bytes.
struct KvLayerView {
  std::byte* base = nullptr;
  std::size_t page_stride_bytes = 0;  // a multiple of 64, at least kv_page_bytes()
  KvDtype dtype = KvDtype::kBf16;
};
inline std::byte* kv_page_base(const KvLayerView& view, PageId page) {
  return view.base + static_cast<std::size_t>(page) * view.page_stride_bytes;
}

// Writes row `row` (0..15) of a page from k, v [kv_heads * head_dim] floats,
// rounding to nearest even.
void kv_write_row(const KvShape& shape, std::byte* page, int row, const float* k, const float* v);

// Rows 0..rows-1 to and from bf16 bit patterns [kv_heads][rows][head_dim]. With kF32
// reading rounds and writing is exact. Spans must have exactly that many elements.
void kv_read_rows(const KvShape& shape, const std::byte* page, int rows, std::span<std::uint16_t> k,
                  std::span<std::uint16_t> v);
void kv_write_rows(const KvShape& shape, std::byte* page, int rows,
                   std::span<const std::uint16_t> k, std::span<const std::uint16_t> v);

// Index (in elements) of an element within its block.
constexpr std::size_t kv_k_index(const KvShape& shape, int row, int dim) {
  if (shape.dtype == KvDtype::kF32) return static_cast<std::size_t>(dim * kPageRows + row);
  return static_cast<std::size_t>((dim / 2 * kPageRows + row) * 2 + dim % 2);
}
constexpr std::size_t kv_v_index(const KvShape& shape, int row, int dim) {
  if (shape.dtype == KvDtype::kF32) return static_cast<std::size_t>(row * shape.head_dim + dim);
  return static_cast<std::size_t>((row / 2 * shape.head_dim + dim) * 2 + row % 2);
}

}  // namespace fieldprint
