#include "attention/cpu/kv_layout.h"

#include "attention/bf16.h"
#include "core/check.h"

namespace fieldprint {
namespace {

// Calls put(kv_head, dim, K element index, V element index) in one pass over a row.
template <typename Put>
void for_row(const KvShape& shape, int row, Put put) {
  const std::size_t head_elements =
      kv_head_offset(shape, 1) / kv_element_bytes(shape.dtype);  // K and V block
  const std::size_t block = head_elements / 2;
  for (int g = 0; g < shape.kv_heads; ++g) {
    const std::size_t base = static_cast<std::size_t>(g) * head_elements;
    for (int d = 0; d < shape.head_dim; ++d) {
      put(g, d, base + kv_k_index(shape, row, d), base + block + kv_v_index(shape, row, d));
    }
  }
}

void check_rows(const KvShape& shape, int rows, std::size_t k_size, std::size_t v_size) {
  FP_CHECK(rows >= 0 && rows <= kPageRows);
  const auto want = static_cast<std::size_t>(shape.kv_heads * rows * shape.head_dim);
  FP_CHECK(k_size == want && v_size == want);
}

}  // namespace

void kv_write_row(const KvShape& shape, std::byte* page, int row, const float* k, const float* v) {
  FP_CHECK(row >= 0 && row < kPageRows);
  if (shape.dtype == KvDtype::kBf16) {
    auto* cell = reinterpret_cast<std::uint16_t*>(page);
    for_row(shape, row, [&](int g, int d, std::size_t ki, std::size_t vi) {
      cell[ki] = bf16_from_float(k[g * shape.head_dim + d]);
      cell[vi] = bf16_from_float(v[g * shape.head_dim + d]);
    });
  } else {
    auto* cell = reinterpret_cast<float*>(page);
    for_row(shape, row, [&](int g, int d, std::size_t ki, std::size_t vi) {
      cell[ki] = k[g * shape.head_dim + d];
      cell[vi] = v[g * shape.head_dim + d];
    });
  }
}

void kv_read_rows(const KvShape& shape, const std::byte* page, int rows, std::span<std::uint16_t> k,
                  std::span<std::uint16_t> v) {
  check_rows(shape, rows, k.size(), v.size());
  for (int row = 0; row < rows; ++row) {
    for_row(shape, row, [&](int g, int d, std::size_t ki, std::size_t vi) {
      const auto at = static_cast<std::size_t>((g * rows + row) * shape.head_dim + d);
      if (shape.dtype == KvDtype::kBf16) {
        k[at] = reinterpret_cast<const std::uint16_t*>(page)[ki];
        v[at] = reinterpret_cast<const std::uint16_t*>(page)[vi];
      } else {
        k[at] = bf16_from_float(reinterpret_cast<const float*>(page)[ki]);
        v[at] = bf16_from_float(reinterpret_cast<const float*>(page)[vi]);
      }
    });
  }
}

void kv_write_rows(const KvShape& shape, std::byte* page, int rows,
                   std::span<const std::uint16_t> k, std::span<const std::uint16_t> v) {
  check_rows(shape, rows, k.size(), v.size());
  for (int row = 0; row < rows; ++row) {
    for_row(shape, row, [&](int g, int d, std::size_t ki, std::size_t vi) {
      const auto at = static_cast<std::size_t>((g * rows + row) * shape.head_dim + d);
      if (shape.dtype == KvDtype::kBf16) {
        reinterpret_cast<std::uint16_t*>(page)[ki] = k[at];
        reinterpret_cast<std::uint16_t*>(page)[vi] = v[at];
      } else {
        reinterpret_cast<float*>(page)[ki] = float_from_bf16(k[at]);
        reinterpret_cast<float*>(page)[vi] = float_from_bf16(v[at]);
      }
    });
  }
}

}  // namespace fieldprint
