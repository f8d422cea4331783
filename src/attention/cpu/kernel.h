// The contract between the scheduling code and the per-ISA kernels. Plain pointers
// and no inline functions: each ISA's source file is compiled with its own flags, and
// a shared inline function emitted there could be linked into code for other machines.
//
// Thread rule: all functions are pure in their arguments; scratch is per thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "attention/cpu/isa.h"
#include "attention/cpu/kv_layout.h"
#include "attention/plan.h"

namespace fieldprint {

// The attention of `rows` query rows over one leaf or over several: with p the
// softmax numerators relative to the row's maximum m (base 2 logarithm),
// l = sum of p, cls = the same per class, o = sum of p v. A row is empty if m is
// -inf; then l, cls and o are undefined.
struct AttentionState {
  float* o = nullptr;    // [rows][head_dim], 64-byte aligned; nullptr: not kept
  float* cls = nullptr;  // [rows][kKvClasses]; nullptr: not kept
  float* m = nullptr;    // [rows]
  float* l = nullptr;    // [rows]
};

struct LeafArgs {
  const void* q = nullptr;  // [rows][head_dim] as pack_q wrote it
  int rows = 0;             // row r is token r / rows_per_token of the tile
  int rows_per_token = 0;
  int head_dim = 0;
  std::int32_t first_query_pos = 0;  // of the tile's token 0
  int window = 0;
  const PageEntry* pages = nullptr;  // the leaf's
  int page_count = 0;                // 1..kLeafPages
  const std::byte* kv = nullptr;     // K block of the KV head in page 0
  std::size_t page_stride = 0;       // bytes
  float score_scale = 0.0F;          // scale * log2(e)
  // The leaf this thread will compute next in the same layer, if known: its K is fetched
  // into the cache while this leaf's V is summed. Never part of the result.
  const PageEntry* next_pages = nullptr;
  int next_page_count = 0;
  const std::byte* next_kv = nullptr;
  const float* beta = nullptr;  // [page_count * kPageRows], natural; nullptr: 0
};

struct KernelTable {
  CpuIsa isa = CpuIsa::kScalar;
  std::size_t q_element_bytes = 0;
  // Rounds to the KV dtype; `count` a multiple of 16, both pointers 64-byte aligned
  // except src.
  void (*pack_q)(const float* src, void* dst, int count) = nullptr;
  // Bytes of 64-byte aligned scratch that `leaf` wants.
  std::size_t (*scratch_bytes)(int head_dim) = nullptr;
  void (*leaf)(const LeafArgs& args, void* scratch, const AttentionState& out) = nullptr;
  // total := total (+) part, row by row, rescaled to the larger maximum; this order of
  // operands is the bitwise contract. Keeps only what both states keep.
  void (*fold)(int rows, int head_dim, const AttentionState& part,
               const AttentionState& total) = nullptr;
};

// nullptr when the build lacks it. Calling into a table the machine cannot run is a bug.
const KernelTable* scalar_kernel(KvDtype dtype);
const KernelTable* avx2_kernel(KvDtype dtype);
const KernelTable* avx512_kernel(KvDtype dtype);
const KernelTable* avx512_bf16_kernel(KvDtype dtype);
// The one for `isa`; kAvx512Bf16 has no f32 kernel of its own and gives kAvx512's.
const KernelTable* find_kernel(CpuIsa isa, KvDtype dtype);

}  // namespace fieldprint
