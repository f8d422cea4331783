// One decode or prefill step on the device, for harness.h.
#include <cuda_runtime.h>

#include <cstring>
#include <numeric>

#include "attention/cuda/device_array.h"
#include "attention/cuda/harness.h"

namespace fieldprint::testing {
namespace {

// What both kinds of step have. `rows`: lines of q and o, `lines`: of the statistics.
struct DeviceStep {
  DeviceStep(const DeviceBatch& b, std::size_t lines, const fp_attn_limits& limits,
             std::size_t workspace_bytes)
      : batch(b),
        k(b.k),
        v(b.v),
        q(b.q),
        pages(b.pages),
        anchor_pages(b.anchor_pages),
        page_counts(b.page_counts),
        anchor_ids(b.anchor_ids),
        anchor_page_counts(b.anchor_page_counts),
        cuts(b.cuts),
        page_positions(b.page_positions),
        anchor_positions(b.anchor_positions),
        beta(b.beta),
        modes(b.modes),
        gamma(b.gamma),
        psi(b.psi),
        heads(lines * static_cast<std::size_t>(b.shape.q_heads)),
        o(b.q.size()),
        lse_context(heads),
        lse_anchor(heads),
        lse_joint(heads),
        mass(heads * kKvClasses),
        workspace(workspace_bytes),
        space{workspace.get(), workspace_bytes, limits} {
    EXPECT_EQ(fp_attn_make_pool(&b.shape, k.get(), v.get(), b.pool_pages, &pool), FP_ATTN_OK);
    tables = {pages.get(),
              page_counts.get(),
              b.page_stride,
              b.batch(),
              b.modes.empty() ? nullptr : anchor_ids.get(),
              anchor_pages.get(),
              anchor_page_counts.get(),
              b.anchor_stride,
              static_cast<int>(b.modes.size()),
              b.cuts.empty() ? nullptr : cuts.get()};
    args = {q.get(),         b.scale,           b.has_beta ? beta.get() : nullptr,
            modes.get(),     gamma.get(),       psi.get(),
            o.get(),         lse_context.get(), lse_anchor.get(),
            lse_joint.get(), mass.get()};
  }

  DeviceOutput fetch() {
    const cudaError_t error = cudaDeviceSynchronize();
    EXPECT_EQ(error, cudaSuccess) << cudaGetErrorString(error);
    DeviceOutput out;
    out.o = o.download(batch.q.size());
    out.lse_context = lse_context.download(heads);
    out.lse_anchor = lse_anchor.download(heads);
    out.lse_joint = lse_joint.download(heads);
    out.mass = mass.download(heads * kKvClasses);
    std::memcpy(&out.table_status, workspace.download(4).data(), 4);
    return out;
  }

  const DeviceBatch& batch;
  DeviceArray<std::uint16_t> k, v, q;
  DeviceArray<std::uint32_t> pages, anchor_pages;
  DeviceArray<std::int32_t> page_counts, anchor_ids, anchor_page_counts, cuts;
  DeviceArray<std::int32_t> page_positions, anchor_positions;
  DeviceArray<float> beta;
  DeviceArray<std::uint8_t> modes;
  DeviceArray<float> gamma, psi;
  std::size_t heads;
  DeviceArray<std::uint16_t> o;
  DeviceArray<float> lse_context, lse_anchor, lse_joint, mass;
  DeviceArray<unsigned char> workspace;
  fp_attn_workspace space;
  fp_attn_pool pool{};
  fp_attn_tables tables{};
  fp_attn_decode_args args{};
};

fp_attn_limits decode_limits(const DeviceBatch& b) {
  return {b.batch(), std::accumulate(b.page_counts.begin(), b.page_counts.end(), 0)};
}

struct DecodeStep : DeviceStep {
  explicit DecodeStep(const DeviceBatch& b) : DecodeStep(b, decode_limits(b)) {}
  DecodeStep(const DeviceBatch& b, const fp_attn_limits& limits)
      : DeviceStep(b, b.page_counts.size(), limits, fp_attn_workspace_bytes(&b.shape, &limits)) {}

  void launch(cudaStream_t stream) {
    const fp_attn_window window{batch.window, page_positions.get(), anchor_positions.get()};
    const fp_attn_shape* shape = &batch.shape;
    EXPECT_EQ(batch.window == 0 ? fp_attn_plan(shape, &tables, &space, stream)
                                : fp_attn_plan_window(shape, &tables, &window, &space, stream),
              FP_ATTN_OK);
    EXPECT_EQ(fp_attn_decode(&pool, &tables, &space, &args, stream), FP_ATTN_OK);
  }
};

struct PrefillStep : DeviceStep {
  PrefillStep(const DeviceBatch& b, int rows) : PrefillStep(b, rows, {b.batch(), 0}) {}
  PrefillStep(const DeviceBatch& b, int rows, const fp_attn_limits& limits)
      : DeviceStep(b, rows == FP_ATTN_ROWS_ALL ? tokens(b) : b.page_counts.size(), limits,
                   fp_attn_prefill_workspace_bytes(&b.shape, &limits)),
        starts(b.query_starts),
        first_positions(b.first_positions),
        all{args, rows, b.window} {
    queries = {starts.get(), first_positions.get(), page_positions.get(), anchor_positions.get(),
               static_cast<int>(tokens(b))};
  }

  static std::size_t tokens(const DeviceBatch& b) {
    return b.q.size() / static_cast<std::size_t>(b.shape.q_heads * b.shape.head_dim);
  }

  void launch(cudaStream_t stream) {
    EXPECT_EQ(fp_attn_prefill_plan(&batch.shape, &tables, &queries, &space, stream), FP_ATTN_OK);
    EXPECT_EQ(fp_attn_prefill(&pool, &tables, &queries, &space, &all, stream), FP_ATTN_OK);
  }

  DeviceArray<std::int32_t> starts, first_positions;
  fp_attn_queries queries{};
  fp_attn_prefill_args all;
};

// Captures the step, replays it, calls `change`, replays it again.
template <typename Step, typename Change>
DeviceOutput replay_changed(Step& step, Change change) {
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  EXPECT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  EXPECT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
  step.launch(stream);
  EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  EXPECT_EQ(cudaGraphInstantiate(&exec, graph, 0), cudaSuccess);
  EXPECT_EQ(cudaGraphLaunch(exec, stream), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  change();
  EXPECT_EQ(cudaGraphLaunch(exec, stream), cudaSuccess);
  DeviceOutput out = step.fetch();
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
  return out;
}

}  // namespace

DeviceOutput run_on_device(const DeviceBatch& batch) {
  DecodeStep step(batch);
  step.launch(nullptr);
  return step.fetch();
}

DeviceOutput run_as_graph(const DeviceBatch& batch, const std::vector<std::int32_t>& first) {
  DecodeStep step(batch);
  step.page_counts.upload(first);
  return replay_changed(step, [&] { step.page_counts.upload(batch.page_counts); });
}

DeviceOutput run_prefill(const DeviceBatch& batch, int rows) {
  PrefillStep step(batch, rows);
  step.launch(nullptr);
  return step.fetch();
}

DeviceOutput run_prefill_as_graph(const DeviceBatch& batch, const DeviceBatch& first) {
  PrefillStep step(batch, FP_ATTN_ROWS_ALL);
  const auto upload = [&](const DeviceBatch& from) {
    step.page_counts.upload(from.page_counts);
    step.starts.upload(from.query_starts);
    step.first_positions.upload(from.first_positions);
  };
  upload(first);
  return replay_changed(step, [&] { upload(batch); });
}

}  // namespace fieldprint::testing
