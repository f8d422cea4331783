#include <cstring>

#include "runner/cpu/q4_1.h"

namespace fieldprint::q4_1 {
namespace {

// ggml's block_q4_1, a file format: low nibbles hold columns 0..15, high ones 16..31.
struct GgmlBlock {
  std::uint16_t d;
  std::uint16_t m;
  std::uint8_t quants[16];
};
static_assert(sizeof(GgmlBlock) == 20, "layout of the GGUF file");

}  // namespace

bool available() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}

void pack(const std::byte* blocks, std::int64_t rows, std::int64_t columns, PanelBlock* panels) {
  const std::int64_t per_row = columns / kBlock;
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto lane = static_cast<std::size_t>(row % kPanelRows);
    for (std::int64_t b = 0; b < per_row; ++b) {
      GgmlBlock from;
      std::memcpy(&from, blocks + (row * per_row + b) * static_cast<std::int64_t>(sizeof from),
                  sizeof from);
      PanelBlock& to = panels[row / kPanelRows * per_row + b];
      to.d[lane] = from.d;
      to.m[lane] = from.m;
      for (std::size_t c = 0; c < 16; ++c) to.quads[c / 4][4 * lane + c % 4] = from.quants[c];
    }
  }
}

}  // namespace fieldprint::q4_1
