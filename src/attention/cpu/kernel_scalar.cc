// Portable C++: for machines without a kernel of their own, and the yardstick that
// the others are compared with.
#include <cmath>
#include <cstring>

#include "attention/cpu/leaf_kernel.h"

namespace fieldprint {
namespace {

template <KvDtype kDtype>
struct Scalar {
  static constexpr int kLanes = 4;
  struct F {
    float x[kLanes];
  };
  using Elem = float;
  struct Pair {
    F first, second;
  };
  struct Bcast {
    float first, second;
  };
  static constexpr int kKvBytes = kDtype == KvDtype::kBf16 ? 2 : 4;
  static constexpr int kRows = 2;
  static constexpr int pages_at_once(int) { return 1; }
  static constexpr int vectors_at_once(int) { return 4; }

  template <class Op>
  static F lanes(Op op) {
    F out;
    for (int i = 0; i < kLanes; ++i) out.x[i] = op(i);
    return out;
  }
  static F zero() { return set1(0.0F); }
  static F set1(float v) {
    return lanes([&](int) { return v; });
  }
  static F load(const float* p) {
    F out;
    std::memcpy(out.x, p, sizeof(out.x));
    return out;
  }
  static void store(float* p, const F& a) { std::memcpy(p, a.x, sizeof(a.x)); }
  static F add(const F& a, const F& b) {
    return lanes([&](int i) { return a.x[i] + b.x[i]; });
  }
  static F sub(const F& a, const F& b) {
    return lanes([&](int i) { return a.x[i] - b.x[i]; });
  }
  static F mul(const F& a, const F& b) {
    return lanes([&](int i) { return a.x[i] * b.x[i]; });
  }
  // Two roundings: a fused one without hardware would cost a library call.
  static F fma(const F& a, const F& b, const F& c) {
    return lanes([&](int i) { return a.x[i] * b.x[i] + c.x[i]; });
  }
  static F max(const F& a, const F& b) {
    return lanes([&](int i) { return a.x[i] > b.x[i] ? a.x[i] : b.x[i]; });
  }
  static float hmax(const F& a) {
    float top = a.x[0];
    for (int i = 1; i < kLanes; ++i) top = a.x[i] > top ? a.x[i] : top;
    return top;
  }
  static float hsum(const F& a) { return (a.x[0] + a.x[2]) + (a.x[1] + a.x[3]); }
  // Adding and taking away 1.5 * 2^23 rounds to nearest even while |a| < 2^22; larger
  // magnitudes are masked to 0 by scale_or_zero.
  static F round(const F& a) {
    constexpr float kMagic = 12582912.0F;
    return lanes([&](int i) { return (a.x[i] + kMagic) - kMagic; });
  }
  static F scale_or_zero(const F& g, const F& n, const F& x) {
    return lanes([&](int i) {
      if (!(x.x[i] >= -126.0F)) return 0.0F;
      const auto bits = static_cast<std::uint32_t>(static_cast<std::int32_t>(n.x[i]) + 127) << 23;
      float power;
      std::memcpy(&power, &bits, sizeof(power));
      return g.x[i] * power;
    });
  }
  static F keep_lanes(const F& a, int lo, int hi) {
    return lanes([&](int i) { return i >= lo && i < hi ? a.x[i] : -__builtin_inff(); });
  }
  static float widen(std::uint32_t bf16_in_high_half) {
    const std::uint32_t bits = bf16_in_high_half & 0xFFFF0000U;
    float out;
    std::memcpy(&out, &bits, sizeof(out));
    return out;
  }
  static Pair load_pair(const std::byte* block, int pair, int lane, int width) {
    if constexpr (kDtype == KvDtype::kBf16) {
      std::uint16_t cells[2 * kLanes];
      std::memcpy(cells, block + (std::ptrdiff_t{pair} * width + lane) * 4, sizeof(cells));
      return {lanes([&](int i) { return widen(std::uint32_t{cells[2 * i]} << 16); }),
              lanes([&](int i) { return widen(std::uint32_t{cells[2 * i + 1]} << 16); })};
    } else {
      const float* row = reinterpret_cast<const float*>(block) + std::ptrdiff_t{2} * pair * width;
      return {load(row + lane), load(row + width + lane)};
    }
  }
  static Bcast bcast(const Elem* p, int pair) { return {p[2 * pair], p[2 * pair + 1]}; }
  static F dot(const F& acc, const Pair& kv, const Bcast& w) {
    return lanes(
        [&](int i) { return (acc.x[i] + kv.first.x[i] * w.first) + kv.second.x[i] * w.second; });
  }
  static void store_probs(Elem* p, const F& a) { store(p, a); }
  static void store_query(Elem* p, const F& a) {
    F out = a;
    if constexpr (kDtype == KvDtype::kBf16) {
      out = lanes([&](int i) {
        std::uint32_t bits;
        std::memcpy(&bits, &a.x[i], sizeof(bits));
        return a.x[i] != a.x[i] ? a.x[i] : widen(bits + 0x7FFFU + ((bits >> 16) & 1U));
      });
    }
    store(p, out);
  }
  static void copy_first_of_pair(const std::byte* block, int pair, int head_dim, std::byte* out) {
    std::memset(out, 0, std::size_t{2} * head_dim * kKvBytes);
    if constexpr (kDtype == KvDtype::kBf16) {
      for (int d = 0; d < head_dim; ++d) {
        std::memcpy(out + d * 4, block + (std::ptrdiff_t{pair} * head_dim + d) * 4, 2);
      }
    } else {
      std::memcpy(out, block + std::ptrdiff_t{2} * pair * head_dim * 4,
                  static_cast<std::size_t>(head_dim) * 4);
    }
  }
};

constexpr KernelTable kBf16Table = LeafKernel<Scalar<KvDtype::kBf16>>::table(CpuIsa::kScalar);
constexpr KernelTable kF32Table = LeafKernel<Scalar<KvDtype::kF32>>::table(CpuIsa::kScalar);

}  // namespace

const KernelTable* scalar_kernel(KvDtype dtype) {
  return dtype == KvDtype::kBf16 ? &kBf16Table : &kF32Table;
}

}  // namespace fieldprint
