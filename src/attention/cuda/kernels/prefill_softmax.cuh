// Online softmax of 64 packed rows, one tile of scores at a time.
//
// Each thread holds two rows (wgmma.cuh), each of them shared by the four lanes of a quad.
// What happens to a row depends on that row's scores only: a row's exponent is raised when
// its own largest score asks for it, and a tile it cannot see changes nothing. So a row's bits
// depend neither on the other rows of its item nor on how a prompt is cut into chunks.
#pragma once

#include "attention/cuda/kernels/prefill_shared.cuh"
#include "attention/cuda/kernels/tile.cuh"

namespace fieldprint::cuda {

inline constexpr int kScores = kTileSlots / 2;  // per thread

__device__ __forceinline__ float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(~0U, x, 1));
  return fmaxf(x, __shfl_xor_sync(~0U, x, 2));
}
__device__ __forceinline__ float quad_sum(float x) {
  x += __shfl_xor_sync(~0U, x, 1);
  return x + __shfl_xor_sync(~0U, x, 2);
}

// Of a thread's two rows: exponent m (log2), this thread's share of the sum l, and of the sum
// of the current class since its last flush.
struct RowState {
  float m[2] = {kNoReference, kNoReference};
  float l[2] = {0.0F, 0.0F};
  float l_class[2] = {0.0F, 0.0F};
  int cls = -1;
};

// What remains of it when a side is done: exponents, and sums over the quad.
struct SideSums {
  float m[2] = {kNoReference, kNoReference};
  float l[2] = {0.0F, 0.0F};
  SideSums() = default;
  __device__ __forceinline__ explicit SideSums(const RowState& state)
      : m{state.m[0], state.m[1]}, l{quad_sum(state.l[0]), quad_sum(state.l[1])} {}
};

// Raises the exponents of the rows whose scores outgrew them. Returns whether any row of the
// warp did; `factor` is then what each row's sums and outputs are multiplied by.
__device__ __forceinline__ bool raise_rows(RowState& state, const float (&s)[kScores],
                                           float scale_log2, float (&factor)[2]) {
  float part[2][4];  // independent chains
#pragma unroll
  for (int j = 0; j < kScores; j += 4) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float top = fmaxf(s[j + 2 * r], s[j + 2 * r + 1]);
      float& best = part[r][j / 4 % 4];
      best = j < 16 ? top : fmaxf(best, top);
    }
  }
  // A row's largest score outgrows its exponent when one of its lanes' does: in most tiles none
  // does, and the lanes need not exchange anything but that.
  float high[2];
  bool grows = false;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    high[r] = fmaxf(fmaxf(part[r][0], part[r][1]), fmaxf(part[r][2], part[r][3])) * scale_log2;
    grows |= high[r] > state.m[r] + kRescaleSlack;
  }
  if (!__any_sync(~0U, grows)) return false;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    high[r] = quad_max(high[r]);
    const float m = high[r] > state.m[r] + kRescaleSlack ? high[r] : state.m[r];
    factor[r] = exp2_fast(state.m[r] - m);
    state.m[r] = m;
    // Never contracted with a later addition: bits must not depend on the code around.
    state.l[r] = __fmul_rn(state.l[r], factor[r]);
    state.l_class[r] = __fmul_rn(state.l_class[r], factor[r]);
  }
  return true;
}

// Scores to weights, in place; adds them to the sums. Returns the tile's sums.
__device__ __forceinline__ float2 weigh_rows(RowState& state, float (&s)[kScores],
                                             float scale_log2) {
  float2 sum = {0.0F, 0.0F};
#pragma unroll
  for (int j = 0; j < kScores; j += 4) {
    s[j] = exp2_fast(fmaf(s[j], scale_log2, -state.m[0]));
    s[j + 1] = exp2_fast(fmaf(s[j + 1], scale_log2, -state.m[0]));
    s[j + 2] = exp2_fast(fmaf(s[j + 2], scale_log2, -state.m[1]));
    s[j + 3] = exp2_fast(fmaf(s[j + 3], scale_log2, -state.m[1]));
    sum.x += s[j] + s[j + 1];
    sum.y += s[j + 2] + s[j + 3];
  }
  state.l[0] += sum.x;
  state.l[1] += sum.y;
  return sum;
}

// Hides what is before a row's window.
__device__ __forceinline__ void hide_left(float (&s)[kScores], const TileInfo& info, int window,
                                          const int (&pos)[2]) {
  const int t = 2 * (threadIdx.x & 3);
  const float hidden = __int_as_float(0xFF800000);
#pragma unroll
  for (int slab = 0; slab < kTileSlabs; ++slab) {
    const int before = info.first_pos[slab] + window - 1 + t;
    const int first[2] = {pos[0] - before, pos[1] - before};
#pragma unroll
    for (int i = 0; i < 8; ++i) {  // columns as in adjust_scores()
      float& x = s[slab * 8 + i];
      x = i / 4 * 8 + i % 2 >= first[i / 2 % 2] ? x : hidden;
    }
  }
}

// Adds beta and hides what a row may not see. pos: the positions of the thread's two rows.
__device__ __forceinline__ void adjust_scores(float (&s)[kScores], const TileInfo& info,
                                              std::uint32_t flags, const int (&pos)[2]) {
  const int t = 2 * (threadIdx.x & 3);
  if ((flags & kTileBiased) != 0) {
#pragma unroll
    for (int j = 0; j < kTileSlots / 8; ++j) {
      const float2 beta = *reinterpret_cast<const float2*>(&info.beta[j * 8 + t]);
      s[4 * j] += beta.x;
      s[4 * j + 1] += beta.y;
      s[4 * j + 2] += beta.x;
      s[4 * j + 3] += beta.y;
    }
  }
  if ((flags & kTileMasked) == 0) return;
  const float hidden = __int_as_float(0xFF800000);
#pragma unroll
  for (int slab = 0; slab < kTileSlabs; ++slab) {
    const int first = info.first_pos[slab];
    const int rows = info.rows[slab];
    const int limit[2] = {min(rows, pos[0] - first + 1) - t, min(rows, pos[1] - first + 1) - t};
#pragma unroll
    for (int i = 0; i < 8; ++i) {  // column 8 (i / 4) + t + i % 2 of row (i / 2) % 2
      const int column = i / 4 * 8 + i % 2;
      float& x = s[slab * 8 + i];
      x = column < limit[i / 2 % 2] ? x : hidden;
    }
  }
}

__device__ __forceinline__ void clear_class_sums(RowClassSums& sums, int thread) {
  for (int i = thread; i < 2 * kClasses * 64; i += 128) {
    (&sums.l[0][0])[i] = 0.0F;
    (&sums.m[0][0])[i] = kNoReference;
  }
}

// Moves the current class's sums to shared memory. A row belongs to one quad: no barrier.
__device__ __forceinline__ void flush_class(RowState& state, RowClassSums& sums, int first_row) {
  if (state.cls < 0) return;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float l = quad_sum(state.l_class[r]);
    state.l_class[r] = 0.0F;
    if ((threadIdx.x & 3) != 0) continue;
    float& sum = sums.l[state.cls][first_row + 8 * r];
    float& at = sums.m[state.cls][first_row + 8 * r];
    sum = fmaf(sum, exp2_fast(at - state.m[r]), l);
    at = state.m[r];
  }
}

// Adds a tile's weights to the sums of its slabs' classes.
__device__ __forceinline__ void add_classes(RowState& state, const float (&p)[kScores],
                                            const float2& sum, const TileInfo& info,
                                            RowClassSums& sums, int first_row) {
  const std::uint64_t classes = *reinterpret_cast<const std::uint64_t*>(info.classes);
  const std::uint64_t uniform = (classes & 0xFFU) * 0x0101010101010101ULL;
  if (classes == uniform) {
    const int cls = static_cast<int>(classes & 0xFFU);
    if (cls != state.cls) flush_class(state, sums, first_row);
    state.cls = cls;
    state.l_class[0] += sum.x;
    state.l_class[1] += sum.y;
    return;
  }
#pragma unroll
  for (int slab = 0; slab < kTileSlabs; ++slab) {
    const int cls = info.classes[slab];
    if (info.rows[slab] == 0) continue;
    if (cls != state.cls) flush_class(state, sums, first_row);
    state.cls = cls;
    const float* x = p + slab * 8;
    state.l_class[0] += (x[0] + x[1]) + (x[4] + x[5]);
    state.l_class[1] += (x[2] + x[3]) + (x[6] + x[7]);
  }
}

}  // namespace fieldprint::cuda
