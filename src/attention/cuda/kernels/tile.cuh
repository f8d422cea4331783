// One warp's work on one slab: 16 KV rows against 8 columns (query heads).
//
// Rows are the M side of mma.sync.m16n8k16 and columns the N side ("swap A/B"):
//   S (16 rows x 8 columns) = K Q^T        O^T (head_dim x 8 columns) += V^T P
// Thread (g = lane / 4, t = lane % 4) holds rows g and g + 8 of S and columns 2t, 2t + 1
// of both. A column's result depends on that column and the rows only, never on its
// neighbours: the rescaling decision is taken per column.
//
// Shared memory of a slab: K, then V; each [head_dim / 64][16 rows][128 bytes] with the
// 128-byte swizzle of the copy engine (16-byte part p of row r lies at p ^ (r % 8)).
#pragma once

#include "attention/cuda/kernels/params.cuh"
#include "attention/cuda/kernels/ptx.cuh"

namespace fieldprint::cuda {

template <int kDim>
inline constexpr int kSlabBytes = kSlabRows* kDim * 2;  // K or V

inline constexpr int kHalfBytes = kSlabRows * 128;

// Address of 16-byte part `part` (of the whole row) of `row`.
__device__ __forceinline__ std::uint32_t part_address(std::uint32_t slab, std::uint32_t row,
                                                      std::uint32_t part) {
  return slab + (part / 8) * kHalfBytes + row * 128 + (((part & 7) ^ (row & 7)) << 4);
}

// P may reach 2^kRescaleSlack before the reference exponent is raised.
inline constexpr float kRescaleSlack = 8.0F;

// Running state of 8 columns, with kTiles of 16 elements of head_dim. m and l are those of this
// thread's two columns; l is this thread's share and belongs to the current class only.
template <int kTiles>
struct TileState {
  float o[kTiles][4];
  float m[2];
  float l[2];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (auto& tile : o) {
#pragma unroll
      for (float& x : tile) x = 0.0F;
    }
    m[0] = m[1] = kNoReference;
    l[0] = l[1] = 0.0F;
  }
};

template <int kDim>
struct QueryFragment {
  std::uint32_t word[kDim / 16][2];
};

// Column g's query as the B operand; zeros when `q` is null.
template <int kDim>
__device__ __forceinline__ void load_query(QueryFragment<kDim>& fragment, const void* q) {
  const int t = threadIdx.x & 3;
  const auto* words = static_cast<const std::uint32_t*>(q);
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
    fragment.word[k][0] = q == nullptr ? 0U : __ldg(words + k * 8 + t);
    fragment.word[k][1] = q == nullptr ? 0U : __ldg(words + k * 8 + t + 4);
  }
}

// Raw scores: s = init + K Q^T; init_low for row g, init_high for row g + 8.
template <int kDim>
__device__ __forceinline__ void score_slab(float (&s)[4], std::uint32_t k_slab,
                                           const QueryFragment<kDim>& q, float init_low,
                                           float init_high) {
  const int lane = threadIdx.x & 31;
  const std::uint32_t row = (lane & 7) + ((lane >> 3) & 1) * 8;
  // Four chains, so that one multiply does not wait for the one before.
  float chain[4][4] = {};
  chain[0][0] = chain[0][1] = init_low;
  chain[0][2] = chain[0][3] = init_high;
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
    std::uint32_t a[4];
    ldmatrix_x4(a, part_address(k_slab, row, k * 2 + (lane >> 4)));
    mma_16x8x16(chain[k % 4], a, q.word[k][0], q.word[k][1]);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) s[i] = (chain[0][i] + chain[1][i]) + (chain[2][i] + chain[3][i]);
}

// O^T += V^T P, from tile `first` of head_dim on. keep_low, keep_high: the bits to keep of this
// thread's rows, of two halves, if kRagged.
template <bool kRagged, int kTiles>
__device__ __forceinline__ void multiply_slab(TileState<kTiles>& state, std::uint32_t v_slab,
                                              int first, std::uint32_t p_low, std::uint32_t p_high,
                                              std::uint32_t keep_low, std::uint32_t keep_high) {
  const int lane = threadIdx.x & 31;
  const std::uint32_t row = (lane & 7) + (lane >> 4) * 8;
#pragma unroll
  for (int d = 0; d < kTiles; ++d) {
    std::uint32_t a[4];
    ldmatrix_x4_trans(a, part_address(v_slab, row, (first + d) * 2 + ((lane >> 3) & 1)));
    if (kRagged) {
      a[0] &= keep_low;
      a[1] &= keep_low;
      a[2] &= keep_high;
      a[3] &= keep_high;
    }
    mma_16x8x16(state.o[d], a, p_low, p_high);
  }
}

// Rows from `valid` on may hold NaN, so their bits are cleared; those that are merely hidden are
// rows like others, with a weight of zero.
template <int kTiles>
__device__ __forceinline__ void accumulate_slab(TileState<kTiles>& state, std::uint32_t v_slab,
                                                int first, std::uint32_t p_low,
                                                std::uint32_t p_high, int valid) {
  if (valid == kSlabRows) {
    multiply_slab<false>(state, v_slab, first, p_low, p_high, 0, 0);
    return;
  }
  const int t = threadIdx.x & 3;
  const auto keep = [valid](int row) {  // mask for rows row, row + 1
    return (row < valid ? 0xFFFFU : 0U) | (row + 1 < valid ? 0xFFFF0000U : 0U);
  };
  multiply_slab<true>(state, v_slab, first, p_low, p_high, keep(2 * t), keep(2 * t + 8));
}

// Raises the reference exponents of the columns that need it; `high` is each
// column's largest score among this thread's rows.
template <int kTiles>
__device__ __forceinline__ void raise_reference(TileState<kTiles>& state, float (&high)[2]) {
#pragma unroll
  for (int c = 0; c < 2; ++c) {
    for (int step = 4; step < 32; step *= 2) {
      high[c] = fmaxf(high[c], __shfl_xor_sync(~0U, high[c], step));
    }
    const float m = high[c] > state.m[c] + kRescaleSlack ? high[c] : state.m[c];
    const float factor = exp2_fast(state.m[c] - m);
    state.m[c] = m;
    // Never contracted with a later addition: bits must not depend on the code around.
    state.l[c] = __fmul_rn(state.l[c], factor);
#pragma unroll
    for (int d = 0; d < kTiles; ++d) {
      state.o[d][c] *= factor;
      state.o[d][c + 2] *= factor;
    }
  }
}

// The slab's scores in log2, -infinity where a column sees no row: rows from `valid` on are
// absent, this thread's column c sees rows from first[c] on. init_low/high: the biases of rows
// g and g + 8, divided by the scale.
template <int kDim>
__device__ __forceinline__ void visible_scores(float (&s)[4], std::uint32_t slab,
                                               const QueryFragment<kDim>& q, float scale_log2,
                                               float init_low, float init_high, int valid,
                                               const int (&first)[2]) {
  const int g = (threadIdx.x & 31) >> 2;
  score_slab<kDim>(s, slab, q, init_low, init_high);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = g + (i / 2) * 8;
    const bool present = row < valid && row >= first[i % 2];
    s[i] = present ? __fmul_rn(s[i], scale_log2) : __int_as_float(0xFF800000);
  }
}

// Adds one slab's rows, whose scores are `s`, to the state; v_slab: its V.
template <int kTiles>
__device__ __forceinline__ void add_scores(TileState<kTiles>& state, const float (&s)[4],
                                           std::uint32_t v_slab, int first_tile, int valid) {
  float high[2] = {fmaxf(s[0], s[2]), fmaxf(s[1], s[3])};
  const bool grows = high[0] > state.m[0] + kRescaleSlack || high[1] > state.m[1] + kRescaleSlack;
  if (__any_sync(~0U, grows)) raise_reference(state, high);
  const float p0 = exp2_fast(s[0] - state.m[0]);
  const float p1 = exp2_fast(s[1] - state.m[1]);
  const float p2 = exp2_fast(s[2] - state.m[0]);
  const float p3 = exp2_fast(s[3] - state.m[1]);
  state.l[0] += p0 + p2;
  state.l[1] += p1 + p3;
  const std::uint32_t p_low = transpose_8x8(pack_bf16(p0, p1));
  const std::uint32_t p_high = transpose_8x8(pack_bf16(p2, p3));
  accumulate_slab(state, v_slab, first_tile, p_low, p_high, valid);
}

// Softmax sums per class and column of one warp, in shared memory. A class's sum is
// relative to the reference exponent at its last flush, stored beside it.
struct ClassSums {
  float l[kClasses][kColumns];
  float m[kClasses][kColumns];
};

__device__ __forceinline__ void clear_class_sums(ClassSums& sums) {
  for (int i = threadIdx.x & 31; i < kClasses * kColumns; i += 32) {
    (&sums.l[0][0])[i] = 0.0F;
    (&sums.m[0][0])[i] = kNoReference;
  }
  __syncwarp();
}

// Moves the running sums to class `cls`. Called when the class changes and at the end.
template <int kTiles>
__device__ __forceinline__ void flush_class(TileState<kTiles>& state, ClassSums& sums, int cls) {
  const int lane = threadIdx.x & 31;
#pragma unroll
  for (int c = 0; c < 2; ++c) {
    float l = state.l[c];
    for (int step = 4; step < 32; step *= 2) l += __shfl_xor_sync(~0U, l, step);
    state.l[c] = 0.0F;
    if (lane < 4) {
      const int column = 2 * lane + c;
      sums.l[cls][column] =
          fmaf(sums.l[cls][column], exp2_fast(sums.m[cls][column] - state.m[c]), l);
      sums.m[cls][column] = state.m[c];
    }
  }
  __syncwarp();
}

}  // namespace fieldprint::cuda
