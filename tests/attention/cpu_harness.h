// Runs CpuAttention over an AttentionWorld: page memory, threads, outputs.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "attention/attention_cases.h"
#include "attention/cpu/cpu_attention.h"

namespace fieldprint::testing {

struct CpuOutput {
  std::vector<float> o, lse_context, lse_anchor, lse_joint, mass, mean_mass;
};

struct CpuRun {
  CpuIsa isa = CpuIsa::kScalar;
  KvDtype dtype = KvDtype::kBf16;
  int threads = 1;
};

inline std::string isa_label(CpuIsa isa) { return std::string(cpu_isa_name(isa)); }

// ISAs this machine can run; the others are named on stdout, never silently dropped.
inline std::vector<CpuIsa> runnable_isas() {
  std::vector<CpuIsa> isas;
  for (const CpuIsa isa : all_cpu_isas()) {
    if (cpu_isa_available(isa)) isas.push_back(isa);
  }
  return isas;
}

// Page memory of kCaseLayers layers, all pages; unused rows hold NaN or infinity.
class PageMemory {
 public:
  PageMemory(const AttentionWorld& world, KvDtype dtype)
      : shape_{world.shape.kv_heads, world.shape.head_dim, dtype},
        stride_(kCaseLayers * kv_page_bytes(shape_)),
        bytes_(stride_ * static_cast<std::size_t>(world.page_count) + 64) {
    const auto misaligned = reinterpret_cast<std::uintptr_t>(bytes_.data()) % 64;
    base_ = bytes_.data() + (64 - misaligned) % 64;
    std::memset(base_, 0xFF, stride_ * static_cast<std::size_t>(world.page_count));
    const auto row_floats = static_cast<std::size_t>(shape_.kv_heads * shape_.head_dim);
    const std::vector<float> infinite(row_floats, std::numeric_limits<float>::infinity());
    for (PageId page = 0; page < world.page_count; ++page) {
      for (int row = 0; row < kPageRows; ++row) {
        const std::size_t at = world.row_offset(page, row, 0);
        const bool unused = std::isnan(world.k[at]);
        const float* k = unused && row % 2 == 0 ? infinite.data() : world.k.data() + at;
        const float* v = unused && row % 2 == 0 ? infinite.data() : world.v.data() + at;
        kv_write_row(shape_, kv_page_base(layer(kCaseLayer), page), row, k, v);
      }
    }
  }
  KvLayerView layer(int index) const {
    return {base_ + static_cast<std::size_t>(index) * kv_page_bytes(shape_), stride_, shape_.dtype};
  }

 private:
  KvShape shape_;
  std::size_t stride_;
  std::vector<std::byte> bytes_;
  std::byte* base_;
};

inline std::unique_ptr<CpuAttention> make_attention(const AttentionShape& shape,
                                                    const CpuRun& run) {
  CpuAttentionOptions options;
  options.shape = shape;
  options.layers = kCaseLayers;
  options.max_threads = run.threads;
  options.kv_dtype = run.dtype;
  options.isa = run.isa;
  auto made = CpuAttention::create(options);
  EXPECT_TRUE(made.has_value()) << made.error().message;
  return std::move(*made);
}

inline void run_layer(CpuAttention& attention, const CpuLayerArgs& args, int threads) {
  std::vector<std::thread> others;
  for (int t = 1; t < threads; ++t) {
    others.emplace_back([&, t] { attention.run(args, t, threads); });
  }
  attention.run(args, 0, threads);
  for (std::thread& other : others) other.join();
}

// Runs one layer over `plans`, which may differ from the world's own.
inline CpuOutput run_plans(const AttentionWorld& world, const PageMemory& memory,
                           std::span<const SequencePlan> plans, const CpuRun& run) {
  const auto attention = make_attention(world.shape, run);
  EXPECT_TRUE(attention->prepare(plans, run.threads).has_value());
  const auto pairs = static_cast<std::size_t>(world.tokens * world.shape.heads);
  // Recognisable rubbish, so that an output that is not written shows.
  constexpr float kUnwritten = -12345.0F;
  CpuOutput out;
  out.o.assign(pairs * static_cast<std::size_t>(world.shape.head_dim), kUnwritten);
  out.lse_context.assign(pairs, kUnwritten);
  out.lse_anchor.assign(pairs, kUnwritten);
  out.lse_joint.assign(pairs, kUnwritten);
  out.mass.assign(pairs * kKvClasses, kUnwritten);
  out.mean_mass.assign(plans.size() * kKvClasses, kUnwritten);
  CpuLayerArgs args;
  args.layer = kCaseLayer;
  args.kv = memory.layer(kCaseLayer);
  args.window = world.window;
  args.q = world.q.data();
  args.out = out.o.data();
  args.lse_context = out.lse_context.data();
  args.lse_anchor = out.lse_anchor.data();
  args.lse_joint = out.lse_joint.data();
  args.mass = out.mass.data();
  run_layer(*attention, args, run.threads);
  attention->finish(out.mean_mass);
  return out;
}

inline CpuOutput run_cpu(const AttentionWorld& world, const CpuRun& run) {
  return run_plans(world, PageMemory(world, run.dtype), world.plans(), run);
}

// Equal bit for bit, NaN included.
inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}
inline void expect_same_bits(const CpuOutput& a, const CpuOutput& b, const std::string& what) {
  EXPECT_TRUE(same_bits(a.o, b.o)) << what << ": o";
  EXPECT_TRUE(same_bits(a.lse_context, b.lse_context)) << what << ": lse_context";
  EXPECT_TRUE(same_bits(a.lse_anchor, b.lse_anchor)) << what << ": lse_anchor";
  EXPECT_TRUE(same_bits(a.lse_joint, b.lse_joint)) << what << ": lse_joint";
  EXPECT_TRUE(same_bits(a.mass, b.mass)) << what << ": mass";
}

// Part of a vector that holds `per_token` floats per token.
inline std::vector<float> token_slice(const std::vector<float>& all, int first, int count,
                                      int per_token) {
  const auto begin = all.begin() + std::ptrdiff_t{first} * per_token;
  return {begin, begin + std::ptrdiff_t{count} * per_token};
}
inline CpuOutput slice_tokens(const CpuOutput& all, const AttentionShape& shape, int first,
                              int count) {
  CpuOutput out;
  out.o = token_slice(all.o, first, count, shape.heads * shape.head_dim);
  out.lse_context = token_slice(all.lse_context, first, count, shape.heads);
  out.lse_anchor = token_slice(all.lse_anchor, first, count, shape.heads);
  out.lse_joint = token_slice(all.lse_joint, first, count, shape.heads);
  out.mass = token_slice(all.mass, first, count, shape.heads * kKvClasses);
  return out;
}

inline float max_difference(const std::vector<float>& a, const std::vector<float>& b) {
  float worst = a.size() == b.size() ? 0.0F : std::numeric_limits<float>::infinity();
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const float d = std::abs(a[i] - b[i]);
    worst = d <= worst ? worst : d;  // NaN becomes the worst
  }
  return worst;
}

}  // namespace fieldprint::testing
