// Warpgroup matrix multiplies (Hopper, sm_90a): 64 rows against tiles in shared memory.
//
// Tiles lie as [part of 64 elements][row][128 bytes] with the 128-byte swizzle of the copy
// engine; a part starts on 1024 bytes. The accumulator of a 64 x N product: thread
// (g = lane / 4, t = lane % 4) of warp w holds, at index 4 j + 2 h + c, row 16 w + g + 8 h and
// column 8 j + 2 t + c. Two such column groups in bf16 are one A fragment of 16 columns.
#pragma once

#include <cstdint>

#include "attention/cuda/kernels/ptx.cuh"

namespace fieldprint::cuda {

inline constexpr int kWarpgroup = 128;

// Orders register accesses before the multiplies that follow.
__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Waits until at most kPending groups of multiplies are under way.
template <int kPending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// The compiler does not know that the registers change until the wait: pins them there.
template <int kCount>
__device__ __forceinline__ void pin(float (&x)[kCount]) {
#pragma unroll
  for (float& value : x) asm volatile("" : "+f"(value)::"memory");
}

// Ordinary writes to shared memory become visible to multiplies and the copy engine.
__device__ __forceinline__ void fence_async_shared() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Descriptor of a swizzled tile: 8-row groups are 1024 bytes apart; `part_bytes` from one part
// of 64 columns to the next (used when the tile is read transposed). Byte offsets may be
// added to it, divided by 16.
__device__ __forceinline__ std::uint64_t tile_descriptor(std::uint32_t address,
                                                         std::uint32_t part_bytes) {
  constexpr std::uint64_t kSwizzle128 = std::uint64_t{1} << 62;
  constexpr std::uint64_t kGroupStride = std::uint64_t{1024 >> 4} << 32;
  return kSwizzle128 | kGroupStride | static_cast<std::uint64_t>(part_bytes >> 4) << 16 |
         static_cast<std::uint64_t>(address >> 4);
}

#define FP_ACC8(d, i)                                                                         \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
      "+f"(d[i + 6]), "+f"(d[i + 7])
#define FP_ACC32(d, i) FP_ACC8(d, i), FP_ACC8(d, i + 8), FP_ACC8(d, i + 16), FP_ACC8(d, i + 24)
#define FP_REGISTERS_32                                                                    \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23," \
  "%24,%25,%26,%27,%28,%29,%30,%31"
#define FP_REGISTERS_64                                                                       \
  FP_REGISTERS_32                                                                             \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53," \
  "%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"

// d (64 x 128) = A (64 x 16, shared) * B^T (128 rows x 16, shared) [+ d].
__device__ __forceinline__ void wgmma_rows_128(float (&d)[64], std::uint64_t a, std::uint64_t b,
                                               int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" FP_REGISTERS_64
      "}, %64, %65, p, 1, 1, 0, 0;\n}\n"
      : FP_ACC32(d, 0), FP_ACC32(d, 32)
      : "l"(a), "l"(b), "r"(accumulate));
}

// d (64 x 128) = A (64 x 16, registers) * B (16 rows x 128, shared) [+ d].
__device__ __forceinline__ void wgmma_columns(float (&d)[64], const std::uint32_t* a,
                                              std::uint64_t b, int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" FP_REGISTERS_64
      "}, {%64,%65,%66,%67}, %68, p, 1, 1, 1;\n}\n"
      : FP_ACC32(d, 0), FP_ACC32(d, 32)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));
}

// The same with 64 columns.
__device__ __forceinline__ void wgmma_columns(float (&d)[32], const std::uint32_t* a,
                                              std::uint64_t b, int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" FP_REGISTERS_32
      "}, {%32,%33,%34,%35}, %36, p, 1, 1, 1;\n}\n"
      : FP_ACC32(d, 0)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));
}

#undef FP_ACC8
#undef FP_ACC32
#undef FP_REGISTERS_32
#undef FP_REGISTERS_64

}  // namespace fieldprint::cuda
