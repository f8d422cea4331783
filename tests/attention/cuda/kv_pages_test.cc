// Page copies and the scrub of pinned pages.
#include <gtest/gtest.h>

#include <cstring>

#include "attention/cuda/harness.h"
#include "attention/cuda/kv_harness.h"

namespace fieldprint::testing {
namespace {

using Pairs = std::vector<fp_kv_page_pair>;

std::uint32_t copy_pages(KvTestCache& test, const Pairs& pairs, int count, int max_pairs) {
  DeviceArray<fp_kv_page_pair> device_pairs(pairs);
  DeviceArray<std::int32_t> device_count(std::vector<std::int32_t>{count});
  DeviceArray<std::uint32_t> status(std::vector<std::uint32_t>{0});
  EXPECT_EQ(fp_kv_copy_pages(&test.cache, device_pairs.get(), device_count.get(), max_pairs,
                             status.get(), nullptr),
            FP_KV_OK);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  return status.download(1)[0];
}

void expect_copied(KvTestCache& test, const Pairs& pairs) {
  const std::size_t page = test.page_elements();
  for (std::size_t pool = 0; pool < test.host.size(); ++pool) {
    std::vector<std::uint16_t> want = test.host[pool];
    for (const fp_kv_page_pair& pair : pairs) {
      std::copy_n(test.host[pool].begin() + static_cast<std::ptrdiff_t>(page * pair.from), page,
                  want.begin() + static_cast<std::ptrdiff_t>(page * pair.to));
    }
    EXPECT_EQ(test.download(static_cast<int>(pool)), want) << "pool " << pool;
  }
}

TEST(KvCopy, CopiesEveryLayer) {
  FP_NEEDS_DEVICE();
  const fp_attn_shape shapes[] = {{64, 1, 1, 16}, {128, 8, 8, 16}, {256, 3, 3, 64}, {64, 5, 5, 32}};
  for (const fp_attn_shape& shape : shapes) {
    SCOPED_TRACE(shape.head_dim);
    KvTestCache test(shape, 3, 9);
    const Pairs pairs{{0, 8}, {3, 1}, {3, 2}, {7, 4}};  // a source may be used twice
    EXPECT_EQ(copy_pages(test, pairs, 4, 300), 0U);
    expect_copied(test, pairs);
  }
}

TEST(KvCopy, NothingToDoDoesNothing) {
  FP_NEEDS_DEVICE();
  KvTestCache test({64, 1, 1, 16}, 2, 4);
  EXPECT_EQ(copy_pages(test, {{0, 1}}, 0, 16), 0U);
  expect_copied(test, {});
}

TEST(KvCopy, BadListsAreLoud) {
  FP_NEEDS_DEVICE();
  KvTestCache test({64, 1, 1, 16}, 2, 4);
  EXPECT_EQ(copy_pages(test, {{0, 1}, {0, 2}}, 2, 1), FP_KV_BAD_COUNT);
  EXPECT_EQ(copy_pages(test, {{0, 1}}, -1, 1), FP_KV_BAD_COUNT);
  EXPECT_EQ(copy_pages(test, {{0, 4}}, 1, 1), FP_KV_BAD_PAGE_ID);
  EXPECT_EQ(copy_pages(test, {{-1, 2}}, 1, 1), FP_KV_BAD_PAGE_ID);
  expect_copied(test, {});
  EXPECT_EQ(copy_pages(test, {{0, 1}, {1, 2}}, 2, 2), FP_KV_CHAINED_COPIES);
  EXPECT_EQ(copy_pages(test, {{0, 2}, {1, 2}}, 2, 2), FP_KV_CHAINED_COPIES);
  EXPECT_EQ(copy_pages(test, {{3, 3}}, 1, 1), FP_KV_CHAINED_COPIES);
}

// Pinned pages and their scrub on the device.
struct ScrubRun {
  ScrubRun(KvTestCache& test_cache, std::vector<std::uint32_t> pinned)
      : test(test_cache),
        pins(std::move(pinned)),
        entries(pins),
        count(std::vector<std::int32_t>{static_cast<int>(pins.size())}),
        digests(pins.size() * static_cast<std::size_t>(test.cache.layers)),
        state(std::vector<fp_kv_scrub_state>(1)),
        report(std::vector<fp_kv_scrub_report>(1)) {
    scrub = {entries.get(), count.get(),  digests.get(),
             state.get(),   report.get(), static_cast<int>(pins.size())};
    pin();
  }
  int units() const { return static_cast<int>(pins.size()) * test.cache.layers; }

  void pin() {
    EXPECT_EQ(fp_kv_scrub_pin(&test.cache, &scrub, 0, static_cast<int>(pins.size()), nullptr),
              FP_KV_OK);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  }
  fp_kv_scrub_report step(int units) {
    EXPECT_EQ(fp_kv_scrub_step(&test.cache, &scrub, units, nullptr), FP_KV_OK);
    return read();
  }
  fp_kv_scrub_report read() {
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    return report.download(1)[0];
  }
  void reset() {
    state.upload(std::vector<fp_kv_scrub_state>(1));
    report.upload(std::vector<fp_kv_scrub_report>(1));
  }

  KvTestCache& test;
  std::vector<std::uint32_t> pins;
  DeviceArray<std::uint32_t> entries;
  DeviceArray<std::int32_t> count;
  DeviceArray<std::uint64_t> digests;
  DeviceArray<fp_kv_scrub_state> state;
  DeviceArray<fp_kv_scrub_report> report;
  fp_kv_scrub scrub{};
};

TEST(KvScrub, DigestsAreThoseOfTheHost) {
  FP_NEEDS_DEVICE();
  const fp_attn_shape shapes[] = {{64, 3, 3, 16}, {128, 8, 8, 32}, {256, 1, 1, 64}};
  for (const fp_attn_shape& shape : shapes) {
    KvTestCache test(shape, 2, 5);
    ScrubRun run(test, {pack_entry(4, 1, shape.page_rows), pack_entry(0, 0, 1),
                        pack_entry(2, 1, shape.page_rows - 3)});
    const auto digests = run.digests.download(6);
    for (int unit = 0; unit < 6; ++unit) {
      const std::uint32_t entry = run.pins[static_cast<std::size_t>(unit / 2)];
      const std::size_t first = test.row_at(static_cast<int>(entry >> 9), 0, 0);
      const auto pool = static_cast<std::size_t>(2 * (unit % 2));
      EXPECT_EQ(digests[static_cast<std::size_t>(unit)],
                fp_kv_hash_page(&shape, static_cast<int>(entry & 63U) + 1,
                                test.host[pool].data() + first, test.host[pool + 1].data() + first))
          << unit;
    }
    const fp_kv_scrub_report report = run.step(6);
    EXPECT_EQ(report.failed, 0U);
    EXPECT_EQ(report.checked, 6U);
  }
}

// Damages memory with `damage`, goes round once, and mends it.
template <typename Damage>
fp_kv_scrub_report find_damage(ScrubRun& run, int pool, Damage damage) {
  const std::vector<std::uint16_t> before = run.test.host[static_cast<std::size_t>(pool)];
  damage(run.test.host[static_cast<std::size_t>(pool)]);
  run.test.upload(pool);
  const fp_kv_scrub_report report = run.step(run.units());
  run.test.host[static_cast<std::size_t>(pool)] = before;
  run.test.upload(pool);
  run.reset();
  return report;
}

void expect_named(const fp_kv_scrub_report& report, const ScrubRun& run, int pin, int pool,
                  const std::string& what) {
  EXPECT_EQ(report.failed, static_cast<std::uint32_t>(FP_KV_SCRUB_DAMAGED)) << what;
  EXPECT_EQ(report.pin, pin) << what;
  EXPECT_EQ(report.page, static_cast<int>(run.pins[static_cast<std::size_t>(pin)] >> 9)) << what;
  EXPECT_EQ(report.layer, pool / 2) << what;
  EXPECT_NE(report.expected, report.found) << what;
}

TEST(KvScrub, FindsEveryFlippedBit) {
  FP_NEEDS_DEVICE();
  const fp_attn_shape shape{64, 3, 3, 16};
  KvTestCache test(shape, 3, 6);
  ScrubRun run(test, {pack_entry(5, 1, 16), pack_entry(2, 1, 16), pack_entry(3, 1, 7)});
  // Every bit of a 64-bit word, at the corners of head and row, in K and in V.
  for (int bit = 0; bit < 64; ++bit) {
    for (const int word : {0, 15}) {
      const int pin = bit % 3;
      const int pool = bit % 6;
      const int row =
          word == 0 ? 0 : static_cast<int>(run.pins[static_cast<std::size_t>(pin)] & 63U);
      const std::size_t at =
          test.row_at(static_cast<int>(run.pins[static_cast<std::size_t>(pin)] >> 9), bit % 3,
                      row) +
          static_cast<std::size_t>(4 * word + bit / 16);
      const auto report = find_damage(run, pool, [&](std::vector<std::uint16_t>& data) {
        data[at] = static_cast<std::uint16_t>(data[at] ^ (1U << (bit % 16)));
      });
      expect_named(report, run, pin, pool, "bit " + std::to_string(bit));
    }
  }
  // Two flips of the same bit, which a plain sum or xor of words may lose.
  for (const int bit : {0, 15}) {
    const std::size_t at = test.row_at(2, 1, 4);
    const auto report = find_damage(run, 2, [&](std::vector<std::uint16_t>& data) {
      data[at + 3] = static_cast<std::uint16_t>(data[at + 3] ^ (1U << bit));
      data[at + 7] = static_cast<std::uint16_t>(data[at + 7] ^ (1U << bit));
    });
    expect_named(report, run, 1, 2, "two flips");
  }
  EXPECT_EQ(run.step(run.units()).failed, 0U) << "all is mended";
}

TEST(KvScrub, FindsSwaps) {
  FP_NEEDS_DEVICE();
  const fp_attn_shape shape{128, 2, 2, 16};
  KvTestCache test(shape, 2, 6);
  ScrubRun run(test, {pack_entry(5, 1, 16), pack_entry(2, 1, 16)});
  const auto swap = [&](std::size_t a, std::size_t b, std::size_t count) {
    return [=](std::vector<std::uint16_t>& data) {
      const auto at = [&](std::size_t i) { return data.begin() + static_cast<std::ptrdiff_t>(i); };
      std::swap_ranges(at(a), at(a + count), at(b));
    };
  };
  const auto rows = find_damage(run, 1, swap(test.row_at(2, 1, 3), test.row_at(2, 1, 4), 128));
  expect_named(rows, run, 1, 1, "rows of a head");
  const auto heads = find_damage(run, 0, swap(test.row_at(5, 0, 9), test.row_at(5, 1, 9), 128));
  expect_named(heads, run, 0, 0, "rows of two heads");
  const auto words = find_damage(run, 3, swap(test.row_at(2, 0, 0), test.row_at(2, 0, 0) + 4, 4));
  expect_named(words, run, 1, 3, "words");
  const auto pages =
      find_damage(run, 2, swap(test.row_at(5, 0, 0), test.row_at(2, 0, 0), test.page_elements()));
  EXPECT_EQ(pages.failed, static_cast<std::uint32_t>(FP_KV_SCRUB_DAMAGED)) << "pages";
  EXPECT_EQ(pages.layer, 1) << "pages";
}

// Slices go round; rows that do not count and places without a page do not matter.
TEST(KvScrub, SlicesGoRoundInAGraph) {
  FP_NEEDS_DEVICE();
  const fp_attn_shape shape{64, 2, 2, 16};
  KvTestCache test(shape, 2, 8);
  ScrubRun run(test, {pack_entry(5, 1, 5), FP_KV_NO_PIN, pack_entry(1, 1, 16), pack_entry(7, 1, 9),
                      pack_entry(0, 1, 16)});
  test.host[3][test.row_at(5, 1, 5)] ^= 1U;  // past the valid rows
  test.host[2][test.row_at(7, 0, 2)] ^= 1U;  // unit 7 of 10
  test.upload(3);
  test.upload(2);
  TestGraph graph([&](cudaStream_t stream) {
    EXPECT_EQ(fp_kv_scrub_step(&test.cache, &run.scrub, 3, stream), FP_KV_OK);
  });
  const std::uint32_t cursors[] = {3, 6, 9, 2, 5};
  for (int i = 0; i < 5; ++i) {
    graph.replay();
    const fp_kv_scrub_report report = run.read();
    EXPECT_EQ(report.failed, i < 2 ? 0U : 1U) << i;
    EXPECT_EQ(report.checked, 3U * static_cast<unsigned>(i + 1));
    EXPECT_EQ(run.state.download(1)[0].cursor, cursors[i]);
  }
  expect_named(run.read(), run, 3, 2, "in a slice");
  graph.replay();
  EXPECT_EQ(run.state.download(1)[0].failures, 2U) << "found again in the next round";
}

TEST(KvScrub, BadTablesAreLoud) {
  FP_NEEDS_DEVICE();
  KvTestCache test({64, 1, 1, 16}, 2, 4);
  ScrubRun run(test, {pack_entry(1, 1, 16), pack_entry(2, 1, 16)});
  run.entries.upload({pack_entry(1, 1, 16), pack_entry(4, 1, 16)});
  fp_kv_scrub_report report = run.step(4);
  EXPECT_EQ(report.failed, static_cast<std::uint32_t>(FP_KV_SCRUB_BAD_TABLE));
  EXPECT_EQ(report.pin, 1);
  EXPECT_EQ(report.page, 4);
  run.reset();
  run.entries.upload(run.pins);
  run.count.upload({3});
  report = run.step(4);
  EXPECT_EQ(report.failed, static_cast<std::uint32_t>(FP_KV_SCRUB_BAD_TABLE));
  run.reset();
  run.count.upload({0});
  EXPECT_EQ(run.step(4).failed, 0U) << "nothing pinned";
}

// The host reads mapped memory while the stream goes on: no call waits for the device.
TEST(KvScrub, ReportsIntoHostMemory) {
  FP_NEEDS_DEVICE();
  KvTestCache test({64, 1, 1, 16}, 1, 4);
  ScrubRun run(test, {pack_entry(3, 1, 16)});
  fp_kv_scrub_report* report = nullptr;
  ASSERT_EQ(cudaHostAlloc(&report, sizeof(*report), cudaHostAllocMapped), cudaSuccess);
  std::memset(report, 0, sizeof(*report));
  void* mapped = nullptr;
  ASSERT_EQ(cudaHostGetDevicePointer(&mapped, report, 0), cudaSuccess);
  run.scrub.report = static_cast<fp_kv_scrub_report*>(mapped);
  test.host[1][test.row_at(3, 0, 15)] ^= 0x8000U;
  test.upload(1);
  EXPECT_EQ(fp_kv_scrub_step(&test.cache, &run.scrub, 1, nullptr), FP_KV_OK);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  expect_named(*report, run, 0, 0, "in host memory");
  EXPECT_EQ(report->checked, 1U);
  cudaFreeHost(report);
}

}  // namespace
}  // namespace fieldprint::testing
