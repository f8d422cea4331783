// Runs prefill steps on the device: harness.h for many queries per sequence.
#pragma once

#include "attention/cuda/harness.h"

namespace fieldprint::testing {

// Outputs start as NaN patterns; statistics are [batch or tokens][q_heads].
DeviceOutput run_prefill(const DeviceBatch& batch, int rows = FP_ATTN_ROWS_ALL);

// Captured in a CUDA graph with the queries and page counts of `first`, replayed with those
// of `batch` (which differ in these only).
DeviceOutput run_prefill_as_graph(const DeviceBatch& batch, const DeviceBatch& first);

// The step in which sequence i has only its queries [from[i], to[i]).
DeviceBatch cut_queries(const DeviceBatch& batch, const std::vector<int>& from,
                        const std::vector<int>& to);

// Rows [first, last) of outputs with statistics of every row.
DeviceOutput rows_of(const DeviceOutput& out, const DeviceBatch& batch, int first, int last);

// As expect_matches_reference(), for every query; out has statistics of every row.
void expect_prefill_matches(const DeviceOutput& out, const AttentionWorld& world,
                            const std::string& what);

}  // namespace fieldprint::testing
