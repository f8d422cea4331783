// What kv_capi.h refuses, by name, before any launch, and the hash. No device needed.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "attention/cuda/harness.h"
#include "attention/cuda/kernels/page_hash.h"
#include "attention/cuda/kv_capi.h"

namespace fieldprint::testing {
namespace {

alignas(256) unsigned char memory[4096];

template <typename T>
T* words(std::size_t offset = 0) {
  return reinterpret_cast<T*>(memory + offset);
}

fp_kv_cache good_cache() {
  fp_kv_cache cache{};
  cache.k[0] = cache.k[1] = cache.v[0] = cache.v[1] = memory;
  cache.shape = {128, 4, 2, 16};
  cache.layers = 2;
  cache.pages = 4;
  return cache;
}

struct Append {
  Append() {
    tables.pages = words<std::uint32_t>();
    tables.page_counts = words<std::int32_t>();
    tables.page_stride = 4;
    tables.batch = 2;
    tokens = {words<std::int32_t>(), words<std::int32_t>(), words<std::int32_t>(), memory, 3};
    args = {memory, memory, memory, memory, 256, 256, 512, 512, words<std::uint32_t>()};
    const fp_kv_rope_spec spec{FP_KV_ROPE_ADJACENT, 128, 10000.0F, 1.0F, nullptr};
    EXPECT_EQ(fp_kv_make_rope(&spec, &rope), FP_KV_OK);
  }
  fp_kv_status status() const {
    return fp_kv_append(&cache, layer, &tables, &tokens, &rope, &args, nullptr);
  }
  fp_kv_cache cache = good_cache();
  std::int32_t layer = 0;
  fp_attn_tables tables{};
  fp_kv_tokens tokens{};
  fp_kv_rope rope{};
  fp_kv_append_args args{};
};

// Status after one change to a good call; only for calls that are refused.
template <typename Change>
fp_kv_status append_with(Change change) {
  Append append;
  change(append);
  return append.status();
}

TEST(KvApi, RefusesCachesByName) {
  const auto with = [](auto change) { return append_with([&](Append& a) { change(a.cache); }); };
  using Cache = fp_kv_cache;
  EXPECT_EQ(with([](Cache& c) { c.shape.head_dim = 96; }), FP_KV_UNSUPPORTED_HEAD_DIM);
  EXPECT_EQ(with([](Cache& c) { c.shape.page_rows = 8; }), FP_KV_UNSUPPORTED_PAGE_SIZE);
  EXPECT_EQ(with([](Cache& c) { c.shape.kv_heads = 0; }), FP_KV_BAD_SHAPE);
  EXPECT_EQ(with([](Cache& c) { c.shape.q_heads = 0; }), FP_KV_BAD_SHAPE);
  EXPECT_EQ(with([](Cache& c) { c.pages = 0; }), FP_KV_BAD_SHAPE);
  EXPECT_EQ(with([](Cache& c) { c.pages = (1 << 23) + 1; }), FP_KV_BAD_SHAPE);
  EXPECT_EQ(with([](Cache& c) { c.layers = 0; }), FP_KV_BAD_LAYER);
  EXPECT_EQ(with([](Cache& c) { c.layers = 129; }), FP_KV_BAD_LAYER);
  EXPECT_EQ(with([](Cache& c) { c.layers = 3; }), FP_KV_NULL_POINTER);
  EXPECT_EQ(with([](Cache& c) { c.v[1] = memory + 8; }), FP_KV_MISALIGNED_POINTER);
}

TEST(KvApi, RefusesAppendsByName) {
  EXPECT_EQ(append_with([](Append& a) { a.layer = 2; }), FP_KV_BAD_LAYER);
  EXPECT_EQ(append_with([](Append& a) { a.layer = -1; }), FP_KV_BAD_LAYER);
  EXPECT_EQ(append_with([](Append& a) { a.tables.batch = 0; }), FP_KV_BAD_SHAPE);
  EXPECT_EQ(append_with([](Append& a) { a.tables.pages = nullptr; }), FP_KV_NULL_POINTER);
  EXPECT_EQ(append_with([](Append& a) { a.tokens.tokens = -1; }), FP_KV_BAD_SHAPE);
  EXPECT_EQ(append_with([](Append& a) { a.tokens.classes = nullptr; }), FP_KV_NULL_POINTER);
  EXPECT_EQ(append_with([](Append& a) { a.tokens.slots = words<std::int32_t>(2); }),
            FP_KV_MISALIGNED_POINTER);
  EXPECT_EQ(append_with([](Append& a) { a.args.status = nullptr; }), FP_KV_NULL_POINTER);
  EXPECT_EQ(append_with([](Append& a) { a.args.k = memory + 8; }), FP_KV_MISALIGNED_POINTER);
  EXPECT_EQ(append_with([](Append& a) { a.args.q_out = nullptr; }), FP_KV_NULL_POINTER);
  EXPECT_EQ(append_with([](Append& a) { a.args.v_stride = 248; }), FP_KV_BAD_STRIDE);
  EXPECT_EQ(append_with([](Append& a) { a.args.q_stride = 516; }), FP_KV_BAD_STRIDE);
  EXPECT_EQ(append_with([](Append& a) { a.rope.dims = 256; }), FP_KV_BAD_ROPE);
  EXPECT_EQ(append_with([](Append& a) { a.rope.style = 2; }), FP_KV_BAD_ROPE);
}

TEST(KvApi, RefusesRopesByName) {
  fp_kv_rope rope;
  const auto status = [&](fp_kv_rope_spec spec) { return fp_kv_make_rope(&spec, &rope); };
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(status({0, 24, 1e4F, 1.0F, nullptr}), FP_KV_BAD_ROPE);
  EXPECT_EQ(status({0, 272, 1e4F, 1.0F, nullptr}), FP_KV_BAD_ROPE);
  EXPECT_EQ(status({0, -16, 1e4F, 1.0F, nullptr}), FP_KV_BAD_ROPE);
  EXPECT_EQ(status({2, 64, 1e4F, 1.0F, nullptr}), FP_KV_BAD_ROPE);
  EXPECT_EQ(status({0, 64, 0.0F, 1.0F, nullptr}), FP_KV_BAD_ROPE);
  EXPECT_EQ(status({0, 64, 1e4F, infinity, nullptr}), FP_KV_BAD_ROPE);
  std::vector<float> factors(32, 1.0F);
  factors[31] = std::nanf("");
  EXPECT_EQ(status({0, 64, 1e4F, 1.0F, factors.data()}), FP_KV_BAD_ROPE);
  factors[31] = 8.0F;
  EXPECT_EQ(status({0, 64, 1e4F, 0.5F, factors.data()}), FP_KV_OK);
  EXPECT_DOUBLE_EQ(rope.turns[0], 0.5 / 6.283185307179586);
  EXPECT_DOUBLE_EQ(rope.turns[31], std::pow(1e4, -62.0 / 64) / 16.0 / 6.283185307179586);
}

TEST(KvApi, RefusesCopiesAndScrubsByName) {
  const fp_kv_cache cache = good_cache();
  const auto copy = [&](const void* pairs, std::int32_t max_pairs) {
    return fp_kv_copy_pages(&cache, static_cast<const fp_kv_page_pair*>(pairs),
                            words<std::int32_t>(), max_pairs, words<std::uint32_t>(), nullptr);
  };
  EXPECT_EQ(copy(nullptr, 1), FP_KV_NULL_POINTER);
  EXPECT_EQ(copy(memory + 4, 1), FP_KV_MISALIGNED_POINTER);
  EXPECT_EQ(copy(memory, 0), FP_KV_BAD_SHAPE);
  EXPECT_EQ(copy(memory, FP_KV_MAX_COPIES + 1), FP_KV_BAD_SHAPE);
  fp_kv_scrub scrub{words<std::uint32_t>(),     words<std::int32_t>(),       words<std::uint64_t>(),
                    words<fp_kv_scrub_state>(), words<fp_kv_scrub_report>(), 8};
  EXPECT_EQ(fp_kv_scrub_step(&cache, &scrub, 0, nullptr), FP_KV_BAD_SHAPE);
  EXPECT_EQ(fp_kv_scrub_step(&cache, &scrub, 65536, nullptr), FP_KV_BAD_SHAPE);
  EXPECT_EQ(fp_kv_scrub_pin(&cache, &scrub, 5, 4, nullptr), FP_KV_BAD_SHAPE);
  scrub.max_pins = 1 << 30;
  EXPECT_EQ(fp_kv_scrub_step(&cache, &scrub, 1, nullptr), FP_KV_BAD_SHAPE);
  scrub.max_pins = 8;
  scrub.digests = words<std::uint64_t>(4);
  EXPECT_EQ(fp_kv_scrub_step(&cache, &scrub, 1, nullptr), FP_KV_MISALIGNED_POINTER);
  scrub.digests = nullptr;
  EXPECT_EQ(fp_kv_scrub_pin(&cache, &scrub, 0, 1, nullptr), FP_KV_NULL_POINTER);
}

TEST(KvApi, SaysWhenThereIsNoDevice) {
  if (missing_device().empty()) GTEST_SKIP() << "would launch on the dummy memory";
  const Append append;
  EXPECT_EQ(append.status(), FP_KV_NO_DEVICE);
}

TEST(KvApi, NamesAreUniqueAndStable) {
  std::set<std::string> names;
  for (int s = FP_KV_OK; s <= FP_KV_CUDA_ERROR; ++s) {
    names.insert(fp_kv_status_name(static_cast<fp_kv_status>(s)));
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(FP_KV_CUDA_ERROR) + 1);
  EXPECT_EQ(names.count("unknown_status"), 0U);
  EXPECT_EQ(names.count("bad_rope"), 1U);
}

TEST(KvApi, KnowsTheSizesOfItsStructs) {
  EXPECT_EQ(fp_abi_struct_bytes("fp_kv_cache"), sizeof(fp_kv_cache));
  EXPECT_EQ(fp_abi_struct_bytes("fp_attn_pool"), sizeof(fp_attn_pool));
  EXPECT_EQ(fp_abi_struct_bytes("fp_attn"), 0U);
  EXPECT_EQ(fp_abi_struct_bytes(nullptr), 0U);
}

// Digests are compared across builds and machines: pinned down here.
TEST(KvApi, HashIsStable) {
  const fp_attn_shape shape{64, 1, 1, 16};
  std::vector<std::uint64_t> k(256), v(256);
  for (std::size_t i = 0; i < 256; ++i) {
    k[i] = i * i;
    v[i] = ~i;
  }
  EXPECT_EQ(fp_kv_hash_page(&shape, 16, k.data(), v.data()), 0xAD6835751AECE2E0ULL);
  EXPECT_EQ(fp_kv_hash_page(&shape, 3, k.data(), v.data()), 0xC093BEA50503BFDULL);
  EXPECT_EQ(fp_kv_hash_page(&shape, 0, k.data(), v.data()), 0U);
  EXPECT_EQ(fp_kv_hash_page(&shape, 17, k.data(), v.data()), 0U);
}

}  // namespace
}  // namespace fieldprint::testing
