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

// Descriptors of swizzled tiles. The upper word says: 128-byte swizzle, 8-row groups 1024 bytes
// apart. The lower one says where the tile starts and, for reading it transposed, how far apart
// its parts of 64 columns are; byte offsets, divided by 16, may be added to it.
inline constexpr std::uint32_t kDescriptorHigh = 1U << 30 | 1024 >> 4;

// Lower word. Shuffled, so that the compiler knows it to be equal in all lanes and keeps it in
// the uniform registers where the multiplies want it; volatile, so that it stays near them.
__device__ __forceinline__ std::uint32_t tile_descriptor(std::uint32_t address,
                                                         std::uint32_t part_bytes) {
  std::uint32_t low = part_bytes >> 4 << 16 | address >> 4;
  asm volatile("shfl.sync.idx.b32 %0, %0, 0, 0x1f, 0xffffffff;" : "+r"(low));
  return low;
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
__device__ __forceinline__ void wgmma_rows_128(float (&d)[64], std::uint32_t a, std::uint32_t b,
                                               int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\n.reg .b64 a, b;\nsetp.ne.b32 p, %66, 0;\n"
      "mov.b64 a, {%64, %67};\nmov.b64 b, {%65, %67};\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" FP_REGISTERS_64
      "}, a, b, p, 1, 1, 0, 0;\n}\n"
      : FP_ACC32(d, 0), FP_ACC32(d, 32)
      : "r"(a), "r"(b), "r"(accumulate), "n"(kDescriptorHigh));
}

// d (64 x 128) = A (64 x 16, registers) * B (16 rows x 128, shared) [+ d].
__device__ __forceinline__ void wgmma_columns(float (&d)[64], const std::uint32_t* a,
                                              std::uint32_t b, int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\n.reg .b64 b;\nsetp.ne.b32 p, %69, 0;\nmov.b64 b, {%68, %70};\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" FP_REGISTERS_64
      "}, {%64,%65,%66,%67}, b, p, 1, 1, 1;\n}\n"
      : FP_ACC32(d, 0), FP_ACC32(d, 32)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b), "r"(accumulate), "n"(kDescriptorHigh));
}

// The same with 64 columns.
__device__ __forceinline__ void wgmma_columns(float (&d)[32], const std::uint32_t* a,
                                              std::uint32_t b, int accumulate) {
  asm volatile(
      "{\n.reg .pred p;\n.reg .b64 b;\nsetp.ne.b32 p, %37, 0;\nmov.b64 b, {%36, %38};\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" FP_REGISTERS_32
      "}, {%32,%33,%34,%35}, b, p, 1, 1, 1;\n}\n"
      : FP_ACC32(d, 0)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b), "r"(accumulate), "n"(kDescriptorHigh));
}

#undef FP_ACC8
#undef FP_ACC32
#undef FP_REGISTERS_32
#undef FP_REGISTERS_64

}  // namespace fieldprint::cuda
