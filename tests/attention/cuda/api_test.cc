// What the API refuses, by name, before any launch. The refusals need no device.
#include <gtest/gtest.h>

#include <set>

#include "attention/cuda/harness.h"

namespace fieldprint::testing {
namespace {

alignas(256) unsigned char memory[1024];
const fp_attn_shape kGood{128, 32, 8, 16};

fp_attn_status pool_status(const fp_attn_shape& shape, const void* k = memory,
                           std::int32_t pages = 4) {
  fp_attn_pool pool;
  return fp_attn_make_pool(&shape, k, memory, pages, &pool);
}

fp_attn_tables good_tables() {
  fp_attn_tables tables{};
  tables.pages = reinterpret_cast<const std::uint32_t*>(memory);
  tables.page_counts = reinterpret_cast<const std::int32_t*>(memory);
  tables.page_stride = 4;
  tables.batch = 2;
  return tables;
}

fp_attn_workspace good_workspace() {
  fp_attn_workspace space{memory, 0, {4, 16}};
  space.bytes = fp_attn_workspace_bytes(&kGood, &space.limits);
  return space;
}

fp_attn_status plan_status(const fp_attn_tables& tables, const fp_attn_workspace& space) {
  return fp_attn_plan(&kGood, &tables, &space, nullptr);
}

fp_attn_status decode_status(const fp_attn_decode_args& args, const fp_attn_tables& tables) {
  const fp_attn_workspace space = good_workspace();
  fp_attn_pool pool{};
  pool.k = pool.v = memory;
  pool.shape = kGood;
  pool.pages = 4;
  return fp_attn_decode(&pool, &tables, &space, &args, nullptr);
}

TEST(CudaApi, RefusesShapesByName) {
  EXPECT_EQ(pool_status({96, 32, 8, 16}), FP_ATTN_UNSUPPORTED_HEAD_DIM);
  EXPECT_EQ(pool_status({128, 32, 8, 24}), FP_ATTN_UNSUPPORTED_PAGE_SIZE);
  EXPECT_EQ(pool_status({128, 32, 3, 16}), FP_ATTN_UNSUPPORTED_GROUP);
  EXPECT_EQ(pool_status({128, 32, 2, 16}), FP_ATTN_UNSUPPORTED_GROUP);
  EXPECT_EQ(pool_status({128, 32, 0, 16}), FP_ATTN_BAD_SHAPE);
  EXPECT_EQ(pool_status(kGood, memory, 0), FP_ATTN_BAD_SHAPE);
  EXPECT_EQ(pool_status({128, 2048, 2048, 64}, memory, 1 << 20), FP_ATTN_BAD_SHAPE);
  EXPECT_EQ(pool_status(kGood, memory + 8), FP_ATTN_MISALIGNED_POINTER);
  EXPECT_EQ(pool_status(kGood, nullptr), FP_ATTN_NULL_POINTER);
  EXPECT_EQ(fp_attn_make_pool(nullptr, memory, memory, 1, nullptr), FP_ATTN_NULL_POINTER);
}

TEST(CudaApi, RefusesTablesByName) {
  const fp_attn_workspace space = good_workspace();
  fp_attn_tables tables = good_tables();
  tables.batch = 5;
  EXPECT_EQ(plan_status(tables, space), FP_ATTN_BATCH_TOO_LARGE);
  tables.batch = 0;
  EXPECT_EQ(plan_status(tables, space), FP_ATTN_BAD_SHAPE);
  tables = good_tables();
  tables.page_counts = nullptr;
  EXPECT_EQ(plan_status(tables, space), FP_ATTN_NULL_POINTER);
  tables = good_tables();
  tables.anchor_ids = tables.page_counts;
  EXPECT_EQ(plan_status(tables, space), FP_ATTN_NULL_POINTER);
  tables.anchor_pages = tables.pages;
  tables.anchor_page_counts = tables.page_counts;
  tables.anchors = 1;
  tables.anchor_stride = 33;  // 528 rows
  EXPECT_EQ(plan_status(tables, space), FP_ATTN_TOO_MANY_ANCHOR_ROWS);
}

TEST(CudaApi, RefusesWindowsByName) {
  const fp_attn_workspace space = good_workspace();
  fp_attn_tables tables = good_tables();
  const auto* words = reinterpret_cast<const std::int32_t*>(memory);
  const auto status = [&](const fp_attn_window* window) {
    return fp_attn_plan_window(&kGood, &tables, window, &space, nullptr);
  };
  EXPECT_EQ(status(nullptr), FP_ATTN_NULL_POINTER);
  fp_attn_window window{0, words, words};
  EXPECT_EQ(status(&window), FP_ATTN_BAD_WINDOW);
  window = {8, nullptr, words};
  EXPECT_EQ(status(&window), FP_ATTN_NULL_POINTER);
  window = {8, words, nullptr};
  tables.anchor_ids = tables.anchor_page_counts = words;
  tables.anchor_pages = tables.pages;
  tables.anchors = tables.anchor_stride = 1;
  EXPECT_EQ(status(&window), FP_ATTN_NULL_POINTER);
  tables = good_tables();
  tables.cuts = reinterpret_cast<const std::int32_t*>(memory + 2);
  window = {8, words, words};
  EXPECT_EQ(status(&window), FP_ATTN_MISALIGNED_POINTER);
}

TEST(CudaApi, RefusesWorkspacesByName) {
  const fp_attn_tables tables = good_tables();
  fp_attn_workspace space = good_workspace();
  space.bytes -= 1;
  EXPECT_EQ(plan_status(tables, space), FP_ATTN_WORKSPACE_TOO_SMALL);
  space = good_workspace();
  space.data = memory + 16;
  EXPECT_EQ(plan_status(tables, space), FP_ATTN_MISALIGNED_POINTER);
  space = good_workspace();
  space.limits.max_batch = 4096;
  EXPECT_EQ(plan_status(tables, space), FP_ATTN_BATCH_TOO_LARGE);
}

TEST(CudaApi, RefusesDecodeArgumentsByName) {
  if (missing_device().empty()) GTEST_SKIP() << "would launch on the dummy memory";
  fp_attn_decode_args args{};
  args.q = args.o = memory;
  args.scale = 0.1F;
  EXPECT_EQ(decode_status(args, good_tables()), FP_ATTN_NO_DEVICE);
}

fp_attn_queries good_queries() {
  const auto* words = reinterpret_cast<const std::int32_t*>(memory);
  return {words, words, words, nullptr, 8};
}

fp_attn_status prefill_plan_status(const fp_attn_queries& queries, std::size_t missing_bytes = 0) {
  const fp_attn_tables tables = good_tables();
  fp_attn_workspace space{memory, 0, {4, 0}};
  space.bytes = fp_attn_prefill_workspace_bytes(&kGood, &space.limits) - missing_bytes;
  return fp_attn_prefill_plan(&kGood, &tables, &queries, &space, nullptr);
}

TEST(CudaApi, RefusesQueriesByName) {
  fp_attn_queries queries = good_queries();
  EXPECT_EQ(prefill_plan_status(queries, 1), FP_ATTN_WORKSPACE_TOO_SMALL);
  queries.starts = nullptr;
  EXPECT_EQ(prefill_plan_status(queries), FP_ATTN_NULL_POINTER);
  queries = good_queries();
  queries.page_positions = reinterpret_cast<const std::int32_t*>(memory + 2);
  EXPECT_EQ(prefill_plan_status(queries), FP_ATTN_MISALIGNED_POINTER);
  queries = good_queries();
  queries.tokens = 1 << 26;  // times 32 heads
  EXPECT_EQ(prefill_plan_status(queries), FP_ATTN_BAD_SHAPE);
  queries.tokens = -1;
  EXPECT_EQ(prefill_plan_status(queries), FP_ATTN_BAD_SHAPE);
}

TEST(CudaApi, NamesAreUniqueAndStable) {
  std::set<std::string> names;
  for (int s = FP_ATTN_OK; s <= FP_ATTN_BAD_ROWS; ++s) {
    names.insert(fp_attn_status_name(static_cast<fp_attn_status>(s)));
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(FP_ATTN_BAD_ROWS) + 1);
  EXPECT_EQ(names.count("unknown_status"), 0U);
  EXPECT_EQ(names.count("too_many_anchor_rows"), 1U);
}

// What only the device can see makes every output NaN and names the cause.
TEST(CudaApi, BadTablesAreLoud) {
  FP_NEEDS_DEVICE();
  AttentionCase c;
  c.context = chat_context(100);
  c.anchor_rows = 20;
  const AttentionWorld world = make_decode_world({c});
  const DeviceBatch good = lay_out_for_device(world, 16);
  const auto expect_nan = [](const DeviceBatch& batch, std::uint32_t status) {
    const DeviceOutput out = run_on_device(batch);
    EXPECT_EQ(out.table_status, status);
    for (const std::uint16_t o : out.o) EXPECT_TRUE(std::isnan(float_from_bf16(o)));
    for (const float lse : out.lse_joint) EXPECT_TRUE(std::isnan(lse));
    for (const float mass : out.mass) EXPECT_TRUE(std::isnan(mass));
  };
  DeviceBatch bad = good;
  bad.page_counts[0] = bad.page_stride + 1;
  expect_nan(bad, FP_ATTN_TABLE_BAD_PAGE_COUNT);
  bad = good;
  bad.anchor_ids[0] = 3;
  expect_nan(bad, FP_ATTN_TABLE_BAD_ANCHOR);
  bad = good;
  bad.pages[1] |= 0x7FFFFFU << 9;
  expect_nan(bad, FP_ATTN_TABLE_BAD_PAGE_ID);
}

}  // namespace
}  // namespace fieldprint::testing
