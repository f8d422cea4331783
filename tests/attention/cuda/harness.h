// Runs shared attention cases on the device.
//
// A world (attention_cases.h) is laid out again as the CUDA kernels want it: any page
// size, [page][kv_head][row][head_dim], packed page tables, one anchor table for the
// batch. Unused rows, the workspace and the outputs hold NaN patterns before each run.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "attention/attention_cases.h"
#include "attention/cuda/capi.h"

namespace fieldprint::testing {

// Why device tests cannot run here; empty if they can.
std::string missing_device();

#define FP_NEEDS_DEVICE()                                            \
  do {                                                               \
    const std::string why = ::fieldprint::testing::missing_device(); \
    if (!why.empty()) GTEST_SKIP() << why;                           \
  } while (false)

// Host arrays of one step. Sequences that view the same anchor share one table row.
struct DeviceBatch {
  fp_attn_shape shape{};
  float scale = 0.0F;
  int pool_pages = 0;
  std::vector<std::uint16_t> k, v, q;
  std::vector<std::uint32_t> pages, anchor_pages;
  std::vector<std::int32_t> page_counts, anchor_ids, anchor_page_counts;
  int page_stride = 0;
  int anchor_stride = 0;
  bool has_beta = false;
  std::vector<float> beta;  // [anchors][kv_heads][512]
  std::vector<std::uint8_t> modes;
  std::vector<float> gamma, psi;
  std::vector<std::int32_t> cuts;  // [batch][2]; empty = none
  int window = 0;
  // Prefill only, but for the positions, which a window needs.
  std::vector<std::int32_t> query_starts;  // [batch + 1]
  std::vector<std::int32_t> first_positions, page_positions, anchor_positions;

  int batch() const { return static_cast<int>(page_counts.size()); }
};

DeviceBatch lay_out_for_device(const AttentionWorld& world, int page_rows, std::uint64_t seed = 3);

struct DeviceOutput {
  std::vector<std::uint16_t> o;  // bf16 bits, [tokens][q_heads][head_dim]
  std::vector<float> lse_context, lse_anchor, lse_joint, mass;
  std::uint32_t table_status = 0;
};

// Plan and decode, once. Fails the test on any CUDA error.
DeviceOutput run_on_device(const DeviceBatch& batch);

// Plan and decode captured in a CUDA graph with the page counts of `first`, replayed
// once with those of `batch` (same pages, fewer or more of them used).
DeviceOutput run_as_graph(const DeviceBatch& batch, const std::vector<std::int32_t>& first);

// The same for prefill; outputs and statistics start as NaN patterns, statistics are [batch or
// tokens][q_heads].
DeviceOutput run_prefill(const DeviceBatch& batch, int rows = FP_ATTN_ROWS_ALL);

// Captured with the queries and page counts of `first`, replayed with those of `batch` (which
// differ in these only).
DeviceOutput run_prefill_as_graph(const DeviceBatch& batch, const DeviceBatch& first);

// The step in which sequence i has only its queries [from[i], to[i]).
DeviceBatch cut_queries(const DeviceBatch& batch, const std::vector<int>& from,
                        const std::vector<int>& to);

// Rows [first, last) of outputs with statistics of every row.
DeviceOutput rows_of(const DeviceOutput& out, const DeviceBatch& batch, int first, int last);

// Sequence `index` of a batch's outputs.
DeviceOutput slice(const DeviceOutput& out, const DeviceBatch& batch, int index);

// Bits, NaN included.
void expect_same_bits(const DeviceOutput& a, const DeviceOutput& b, const std::string& what);

// FlashAttention's adaptive rule for O; 1e-4 + 1e-6 |lse|; 1e-4 per mass, sums to 1e-6. Of every
// query, so prefill outputs need statistics of every row.
void expect_matches_reference(const DeviceOutput& out, const AttentionWorld& world,
                              const std::string& what);

// The largest |o - exact| allowed: twice what plain bf16 arithmetic loses, plus twice
// what rounding at the outputs' scale loses.
double output_tolerance(const ReferenceOutput& exact, const ReferenceOutput& naive);

// 1e-4 + 1e-6 |want|; infinities must be equal.
void expect_lse(float got, double want, const std::string& what);

// A world whose cases all see all their rows, whatever the anchor's length; with a window, what
// it leaves.
AttentionWorld make_decode_world(std::vector<AttentionCase> cases, std::uint64_t seed = 7);

}  // namespace fieldprint::testing
