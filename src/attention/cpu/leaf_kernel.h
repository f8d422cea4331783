// The leaf kernel, generic over an Isa traits class; included by the per-ISA source
// files only, hence the anonymous namespace (see kernel.h).
//
// Lanes are the 16 tokens of a page. For a block of up to Isa::kRows query rows:
//   pass 1  scores of the whole leaf into scratch, masked; row maxima
//   pass 2  p = 2^(s - m); row and class sums; p rounded to the kernel's element
//   pass 3  o = sum of p v, row pairs of V at a time
// Every row's operation sequence is the same whatever block, tile or page range it is
// computed in: blocks only interleave independent chains, and pages that are
// invisible to a row contribute exact zeros. docs/attention.md relies on this.
//
// Isa traits: F (kLanes floats), Elem (storage of q and p), Pair (two K dimensions or
// two V rows per lane), dot(acc, Pair, pair of Elem), and the arithmetic used below.
#pragma once

#include <cstddef>
#include <cstdint>

#include "attention/cpu/kernel.h"

namespace fieldprint {
namespace {

constexpr float kLog2e = 1.44269504088896341F;
constexpr int kAlignElements = 64;

inline int min_int(int a, int b) { return a < b ? a : b; }
inline int max_int(int a, int b) { return a > b ? a : b; }

// 2^x for x <= 0, exactly 0 below 2^-126 and for -inf, 1 for 0. Minimax fit of
// 2^f = 1 + f g(f) on [-1/2, 1/2], relative error 1e-7.
template <class Isa>
typename Isa::F exp2_lanes(typename Isa::F x) {
  const auto n = Isa::round(x);
  const auto f = Isa::sub(x, n);
  auto g = Isa::set1(0.001326472614891827F);
  g = Isa::fma(g, f, Isa::set1(0.009671512991189957F));
  g = Isa::fma(g, f, Isa::set1(0.05550733581185341F));
  g = Isa::fma(g, f, Isa::set1(0.24022242426872253F));
  g = Isa::fma(g, f, Isa::set1(0.6931470036506653F));
  g = Isa::fma(g, f, Isa::set1(1.0F));
  return Isa::scale_or_zero(g, n, x);
}

template <class Isa>
float exp2_one(float x) {
  alignas(64) float lanes[Isa::kLanes];
  Isa::store(lanes, exp2_lanes<Isa>(Isa::set1(x)));
  return lanes[0];
}

template <class Isa>
struct LeafKernel {
  using F = typename Isa::F;
  using Elem = typename Isa::Elem;
  static constexpr int kRows = Isa::kRows;
  static constexpr int kPerPage = kPageRows / Isa::kLanes;  // vectors of scores per page
  // In place, p keeps the block's working set in the first-level cache.
  static constexpr int kOwnElemBytes = __is_same(Elem, float) ? 0 : int{sizeof(Elem)};
  static constexpr float kNegInf = -__builtin_inff();

  struct Scratch {
    float* scores;       // [kRows][kLeafRows]
    Elem* p;             // [kRows][kLeafRows]; the scores' memory if Elem is float
    std::byte* v_tails;  // [kLeafPages][2][head_dim]: last row of pages with odd rows
  };
  static std::size_t v_tail_bytes(int head_dim) {
    return 2 * static_cast<std::size_t>(head_dim) * Isa::kKvBytes;
  }
  static std::size_t scratch_bytes(int head_dim) {
    return std::size_t{kRows} * kLeafRows * (sizeof(float) + kOwnElemBytes) +
           kLeafPages * v_tail_bytes(head_dim);
  }
  static Scratch carve(void* memory) {
    Scratch s;
    s.scores = static_cast<float*>(memory);
    auto* after_scores = reinterpret_cast<std::byte*>(s.scores + std::ptrdiff_t{kRows} * kLeafRows);
    s.p = reinterpret_cast<Elem*>(kOwnElemBytes == 0 ? static_cast<std::byte*>(memory)
                                                     : after_scores);
    s.v_tails = after_scores + std::ptrdiff_t{kRows} * kLeafRows * kOwnElemBytes;
    return s;
  }

  // What pass 1..3 share for one block of query rows.
  struct Block {
    const LeafArgs* args;
    Scratch scratch;
    const Elem* q;             // [R][head_dim]
    std::int32_t pos[kRows];   // query positions
    int page_begin, page_end;  // pages with any row visible to any query of the block
    float m[kRows];
  };

  static const std::byte* k_block(const LeafArgs& a, int page) {
    return a.kv + static_cast<std::size_t>(a.pages[page].page) * a.page_stride;
  }
  static const std::byte* v_block(const LeafArgs& a, int page) {
    return k_block(a, page) + std::size_t{kPageRows} * a.head_dim * Isa::kKvBytes;
  }

  // With few query rows a leaf takes no longer to compute than to come from memory. Then
  // V is fetched while K is used, and the next leaf's K while V is used, so that memory
  // never waits. Short leaves stay in the cache by themselves.
  static constexpr bool fetches_ahead(int rows, int pages) { return rows <= 4 && pages >= 16; }
  static constexpr int kDimPairBytes = 2 * kPageRows * Isa::kKvBytes;
  static void fetch(const std::byte* from, int bytes) {
    for (int at = 0; at < bytes; at += 64) __builtin_prefetch(from + at, 0, 2);
  }
  // The part of the next leaf's K that corresponds to dimensions [dim, dim + dims) of V.
  static void fetch_next_k(const LeafArgs& a, int page, int dim, int dims) {
    const PageEntry& next = a.next_pages[min_int(page, a.next_page_count - 1)];
    const std::byte* k = a.next_kv + static_cast<std::size_t>(next.page) * a.page_stride;
    fetch(k + dim / 2 * kDimPairBytes, dims / 2 * kDimPairBytes);
  }

  // Rows [lo, hi) of the page are visible to a query at `pos`; may be empty.
  static void visible_rows(const LeafArgs& a, const PageEntry& page, std::int32_t pos, int* lo,
                           int* hi) {
    *hi = min_int(page.rows, pos - page.first_pos + 1);
    *lo = a.window == 0 ? 0 : max_int(0, pos - a.window + 1 - page.first_pos);
  }

  // Copies the odd last row of partially filled pages beside a row of zeros: the row
  // after it may hold NaN, which p = 0 would not silence.
  static void copy_v_tails(const LeafArgs& a, const Scratch& scratch) {
    for (int page = 0; page < a.page_count; ++page) {
      const int rows = a.pages[page].rows;
      if (rows % 2 == 0) continue;
      std::byte* tail = scratch.v_tails + page * v_tail_bytes(a.head_dim);
      Isa::copy_first_of_pair(v_block(a, page), rows / 2, a.head_dim, tail);
    }
  }

  // Scores of pages [page, page + P) for R rows; updates the running row maxima.
  template <int R, int P>
  static void score_pages(const Block& b, int page, F* top) {
    const LeafArgs& a = *b.args;
    F acc[R][P * kPerPage];
    const std::byte* k[P];
    const std::byte* v[P];
    for (int i = 0; i < P; ++i) {
      k[i] = k_block(a, page + i);
      v[i] = v_block(a, page + i);
    }
    const bool ahead = fetches_ahead(R, a.page_count);
    for (int r = 0; r < R; ++r) {
      for (int i = 0; i < P * kPerPage; ++i) acc[r][i] = Isa::zero();
    }
    for (int d = 0; d < a.head_dim / 2; ++d) {
      if (ahead) {
#pragma GCC unroll 16
        for (int i = 0; i < P; ++i) fetch(v[i] + d * kDimPairBytes, kDimPairBytes);
      }
      typename Isa::Pair pair[P * kPerPage];
#pragma GCC unroll 16
      for (int i = 0; i < P * kPerPage; ++i) {
        pair[i] = Isa::load_pair(k[i / kPerPage], d, i % kPerPage * Isa::kLanes, kPageRows);
      }
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const auto q = Isa::bcast(b.q + std::ptrdiff_t{r} * a.head_dim, d);
#pragma GCC unroll 16
        for (int i = 0; i < P * kPerPage; ++i) acc[r][i] = Isa::dot(acc[r][i], pair[i], q);
      }
    }
    for (int r = 0; r < R; ++r) {
      for (int i = 0; i < P; ++i)
        top[r] = finish_scores(b, page + i, r, acc[r] + i * kPerPage, top[r]);
    }
  }

  // Scale, bias and mask of one page's scores of one row.
  static F finish_scores(const Block& b, int page, int r, const F* acc, F top) {
    const LeafArgs& a = *b.args;
    int lo, hi;
    visible_rows(a, a.pages[page], b.pos[r], &lo, &hi);
    const bool masked = lo > 0 || hi < kPageRows;
    for (int i = 0; i < kPerPage; ++i) {
      const int lane = i * Isa::kLanes;
      F beta = Isa::zero();
      if (a.beta != nullptr) {
        beta = Isa::mul(Isa::load(a.beta + page * kPageRows + lane), Isa::set1(kLog2e));
      }
      F s = Isa::fma(acc[i], Isa::set1(a.score_scale), beta);
      if (masked) s = Isa::keep_lanes(s, lo - lane, hi - lane);
      Isa::store(b.scratch.scores + std::ptrdiff_t{r} * kLeafRows + page * kPageRows + lane, s);
      top = Isa::max(top, s);
    }
    return top;
  }

  template <int R>
  static void score_leaf(Block& b) {
    F top[R];
    for (int r = 0; r < R; ++r) top[r] = Isa::set1(kNegInf);
    constexpr int kPages = Isa::pages_at_once(R);
    int page = b.page_begin;
    for (; page + kPages <= b.page_end; page += kPages) score_pages<R, kPages>(b, page, top);
    for (; page < b.page_end; ++page) score_pages<R, 1>(b, page, top);
    for (int r = 0; r < R; ++r) b.m[r] = Isa::hmax(top[r]);
  }

  // p, its sum and its sums per class, for one row.
  static void softmax_row(const Block& b, int r, float* l, float* cls) {
    const PageEntry* pages = b.args->pages;
    const float* scores = b.scratch.scores + std::ptrdiff_t{r} * kLeafRows;
    Elem* p_row = b.scratch.p + std::ptrdiff_t{r} * kLeafRows;
    const F m = Isa::set1(b.m[r] == kNegInf ? 0.0F : b.m[r]);
    F sum[kPerPage], run[kPerPage];
    for (int i = 0; i < kPerPage; ++i) sum[i] = run[i] = Isa::zero();
    for (int c = 0; c < kKvClasses; ++c) cls[c] = 0.0F;
    int cls_now = static_cast<int>(pages[b.page_begin].cls);
    for (int page = b.page_begin; page < b.page_end; ++page) {
      const int page_cls = static_cast<int>(pages[page].cls);
      if (page_cls != cls_now) {
        cls[cls_now] += sum_vectors(run);
        for (int i = 0; i < kPerPage; ++i) run[i] = Isa::zero();
        cls_now = page_cls;
      }
      for (int i = 0; i < kPerPage; ++i) {
        const int at = page * kPageRows + i * Isa::kLanes;
        const F p = exp2_lanes<Isa>(Isa::sub(Isa::load(scores + at), m));
        sum[i] = Isa::add(sum[i], p);
        run[i] = Isa::add(run[i], p);
        Isa::store_probs(p_row + at, p);
      }
    }
    cls[cls_now] += sum_vectors(run);
    *l = sum_vectors(sum);
  }
  static float sum_vectors(const F* x) {
    F total = x[0];
    for (int i = 1; i < kPerPage; ++i) total = Isa::add(total, x[i]);
    return Isa::hsum(total);
  }

  // o of R rows, dimensions [dim, dim + D * kLanes).
  template <int R, int D>
  static void weigh_values(const Block& b, int dim, float* o) {
    const LeafArgs& a = *b.args;
    F acc[R][D];
    for (int r = 0; r < R; ++r) {
      for (int i = 0; i < D; ++i) acc[r][i] = Isa::zero();
    }
    const auto step = [&](const std::byte* block, int pair_in_block, const Elem* p, int pair) {
      typename Isa::Pair v[D];
#pragma GCC unroll 16
      for (int i = 0; i < D; ++i) {
        v[i] = Isa::load_pair(block, pair_in_block, dim + i * Isa::kLanes, a.head_dim);
      }
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const auto w = Isa::bcast(p + std::ptrdiff_t{r} * kLeafRows, pair);
#pragma GCC unroll 16
        for (int i = 0; i < D; ++i) acc[r][i] = Isa::dot(acc[r][i], v[i], w);
      }
    };
    const bool ahead = fetches_ahead(R, a.page_count) && a.next_page_count > 0;
    for (int page = b.page_begin; page < b.page_end; ++page) {
      if (ahead) fetch_next_k(a, page, dim, D * Isa::kLanes);
      const std::byte* v = v_block(a, page);
      const Elem* p = b.scratch.p + std::ptrdiff_t{page} * kPageRows;
      const int rows = a.pages[page].rows;
      for (int pair = 0; pair < rows / 2; ++pair) step(v, pair, p, pair);
      if (rows % 2 == 1) step(b.scratch.v_tails + page * v_tail_bytes(a.head_dim), 0, p, rows / 2);
    }
    for (int r = 0; r < R; ++r) {
      for (int i = 0; i < D; ++i) {
        Isa::store(o + std::ptrdiff_t{r} * a.head_dim + dim + i * Isa::kLanes, acc[r][i]);
      }
    }
  }

  template <int R>
  static void run_block(const LeafArgs& a, const Scratch& scratch, int row,
                        const AttentionState& out) {
    Block b;
    b.args = &a;
    b.scratch = scratch;
    b.q = static_cast<const Elem*>(a.q) + std::ptrdiff_t{row} * a.head_dim;
    for (int r = 0; r < R; ++r) b.pos[r] = a.first_query_pos + (row + r) / a.rows_per_token;
    b.page_begin = a.page_count;
    b.page_end = 0;
    for (int page = 0; page < a.page_count; ++page) {
      int lo, hi, unused;
      visible_rows(a, a.pages[page], b.pos[R - 1], &unused, &hi);
      visible_rows(a, a.pages[page], b.pos[0], &lo, &unused);
      if (lo >= hi) continue;
      b.page_begin = min_int(b.page_begin, page);
      b.page_end = page + 1;
    }
    if (b.page_begin >= b.page_end) {
      for (int r = 0; r < R; ++r) out.m[row + r] = kNegInf;
      return;
    }
    score_leaf<R>(b);
    for (int r = 0; r < R; ++r) {
      out.m[row + r] = b.m[r];
      softmax_row(b, r, out.l + row + r, out.cls + std::ptrdiff_t{row + r} * kKvClasses);
    }
    float* o = out.o + std::ptrdiff_t{row} * a.head_dim;
    constexpr int kVecs = Isa::vectors_at_once(R);
    int dim = 0;
    for (; dim + kVecs * Isa::kLanes <= a.head_dim; dim += kVecs * Isa::kLanes) {
      weigh_values<R, kVecs>(b, dim, o);
    }
    for (; dim < a.head_dim; dim += Isa::kLanes) weigh_values<R, 1>(b, dim, o);
  }

  // Blocks of R rows while they fit; returns the next row.
  template <int R>
  static int run_blocks(const LeafArgs& a, const Scratch& scratch, int row,
                        const AttentionState& out) {
    if constexpr (R <= kRows) {
      for (; row + R <= a.rows; row += R) run_block<R>(a, scratch, row, out);
    }
    return row;
  }

  static void leaf(const LeafArgs& a, void* memory, const AttentionState& out) {
    const Scratch scratch = carve(memory);
    copy_v_tails(a, scratch);
    int row = run_blocks<12>(a, scratch, 0, out);
    row = run_blocks<8>(a, scratch, row, out);
    row = run_blocks<6>(a, scratch, row, out);
    row = run_blocks<4>(a, scratch, row, out);
    row = run_blocks<3>(a, scratch, row, out);
    row = run_blocks<2>(a, scratch, row, out);
    run_blocks<1>(a, scratch, row, out);
  }

  static void fold(int rows, int head_dim, const AttentionState& part,
                   const AttentionState& total) {
    for (int r = 0; r < rows; ++r) {
      if (part.m[r] == kNegInf) continue;
      const bool first = total.m[r] == kNegInf;
      const float m = first || part.m[r] > total.m[r] ? part.m[r] : total.m[r];
      const float keep = first ? 0.0F : exp2_one<Isa>(total.m[r] - m);
      const float take = exp2_one<Isa>(part.m[r] - m);
      total.m[r] = m;
      total.l[r] = first ? part.l[r] : total.l[r] * keep + part.l[r] * take;
      if (part.cls != nullptr && total.cls != nullptr) {
        const float* from = part.cls + std::ptrdiff_t{r} * kKvClasses;
        float* to = total.cls + std::ptrdiff_t{r} * kKvClasses;
        for (int c = 0; c < kKvClasses; ++c) {
          to[c] = first ? from[c] : to[c] * keep + from[c] * take;
        }
      }
      if (part.o == nullptr || total.o == nullptr) continue;
      const float* from = part.o + std::ptrdiff_t{r} * head_dim;
      float* to = total.o + std::ptrdiff_t{r} * head_dim;
      for (int d = 0; d < head_dim; d += Isa::kLanes) {
        const F x = Isa::load(from + d);
        F y = x;
        if (!first) y = Isa::fma(x, Isa::set1(take), Isa::mul(Isa::load(to + d), Isa::set1(keep)));
        Isa::store(to + d, y);
      }
    }
  }

  static void pack_q(const float* src, void* dst, int count) {
    for (int i = 0; i < count; i += Isa::kLanes) {
      Isa::store_query(static_cast<Elem*>(dst) + i, Isa::load(src + i));
    }
  }

  static constexpr KernelTable table(CpuIsa isa) {
    return {isa, sizeof(Elem), pack_q, scratch_bytes, leaf, fold};
  }
};

}  // namespace
}  // namespace fieldprint
