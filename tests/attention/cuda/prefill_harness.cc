#include "attention/cuda/prefill_harness.h"

#include <cuda_runtime.h>

#include <cmath>
#include <cstring>

#include "attention/cuda/device_array.h"

namespace fieldprint::testing {
namespace {

// Everything of one step on the device.
struct PrefillStep {
  PrefillStep(const DeviceBatch& b, int rows)
      : batch(b),
        k(b.k),
        v(b.v),
        q(b.q),
        pages(b.pages),
        anchor_pages(b.anchor_pages),
        page_counts(b.page_counts),
        anchor_ids(b.anchor_ids),
        anchor_page_counts(b.anchor_page_counts),
        starts(b.query_starts),
        first_positions(b.first_positions),
        page_positions(b.page_positions),
        anchor_positions(b.anchor_positions),
        beta(b.beta),
        modes(b.modes),
        gamma(b.gamma),
        psi(b.psi),
        tokens(b.q.size() / static_cast<std::size_t>(b.shape.q_heads * b.shape.head_dim)),
        heads((rows == FP_ATTN_ROWS_ALL ? tokens : b.page_counts.size()) *
              static_cast<std::size_t>(b.shape.q_heads)),
        o(b.q.size()),
        lse_context(heads),
        lse_anchor(heads),
        lse_joint(heads),
        mass(heads * kKvClasses),
        limits{b.batch(), 0},
        workspace(fp_attn_prefill_workspace_bytes(&b.shape, &limits)) {
    EXPECT_EQ(fp_attn_make_pool(&b.shape, k.get(), v.get(), b.pool_pages, &pool), FP_ATTN_OK);
    const bool anchors = !b.modes.empty();
    tables = {pages.get(),
              page_counts.get(),
              b.page_stride,
              b.batch(),
              anchors ? anchor_ids.get() : nullptr,
              anchor_pages.get(),
              anchor_page_counts.get(),
              b.anchor_stride,
              static_cast<int>(b.modes.size())};
    queries = {starts.get(), first_positions.get(), page_positions.get(), anchor_positions.get(),
               static_cast<int>(tokens)};
    space = {workspace.get(), fp_attn_prefill_workspace_bytes(&b.shape, &limits), limits};
    args = {{q.get(), b.scale, b.has_beta ? beta.get() : nullptr, modes.get(), gamma.get(),
             psi.get(), o.get(), lse_context.get(), lse_anchor.get(), lse_joint.get(), mass.get()},
            rows};
  }

  void launch(cudaStream_t stream) {
    EXPECT_EQ(fp_attn_prefill_plan(&batch.shape, &tables, &queries, &space, stream), FP_ATTN_OK);
    EXPECT_EQ(fp_attn_prefill(&pool, &tables, &queries, &space, &args, stream), FP_ATTN_OK);
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
  DeviceArray<std::int32_t> page_counts, anchor_ids, anchor_page_counts;
  DeviceArray<std::int32_t> starts, first_positions, page_positions, anchor_positions;
  DeviceArray<float> beta;
  DeviceArray<std::uint8_t> modes;
  DeviceArray<float> gamma, psi;
  std::size_t tokens;
  std::size_t heads;  // of the statistics
  DeviceArray<std::uint16_t> o;
  DeviceArray<float> lse_context, lse_anchor, lse_joint, mass;
  fp_attn_limits limits;
  DeviceArray<unsigned char> workspace;
  fp_attn_pool pool{};
  fp_attn_tables tables{};
  fp_attn_queries queries{};
  fp_attn_workspace space{};
  fp_attn_prefill_args args{};
};

template <typename T>
std::vector<T> part(const std::vector<T>& from, std::size_t width, int first, int last) {
  return {from.begin() + static_cast<std::ptrdiff_t>(width) * first,
          from.begin() + static_cast<std::ptrdiff_t>(width) * last};
}

}  // namespace

DeviceOutput run_prefill(const DeviceBatch& batch, int rows) {
  PrefillStep step(batch, rows);
  step.launch(nullptr);
  return step.fetch();
}

DeviceOutput run_prefill_as_graph(const DeviceBatch& batch, const DeviceBatch& first) {
  PrefillStep step(batch, FP_ATTN_ROWS_ALL);
  step.page_counts.upload(first.page_counts);
  step.starts.upload(first.query_starts);
  step.first_positions.upload(first.first_positions);
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
  step.page_counts.upload(batch.page_counts);
  step.starts.upload(batch.query_starts);
  step.first_positions.upload(batch.first_positions);
  EXPECT_EQ(cudaGraphLaunch(exec, stream), cudaSuccess);
  DeviceOutput out = step.fetch();
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
  return out;
}

DeviceBatch cut_queries(const DeviceBatch& batch, const std::vector<int>& from,
                        const std::vector<int>& to) {
  DeviceBatch cut = batch;
  cut.q.clear();
  cut.query_starts.assign(1, 0);
  const auto width = static_cast<std::ptrdiff_t>(batch.shape.q_heads) * batch.shape.head_dim;
  for (std::size_t i = 0; i < from.size(); ++i) {
    const auto first = batch.q.begin() + width * (batch.query_starts[i] + from[i]);
    cut.q.insert(cut.q.end(), first, first + width * (to[i] - from[i]));
    cut.query_starts.push_back(cut.query_starts.back() + to[i] - from[i]);
    cut.first_positions[i] += from[i];
  }
  return cut;
}

DeviceOutput rows_of(const DeviceOutput& out, const DeviceBatch& batch, int first, int last) {
  const auto heads = static_cast<std::size_t>(batch.shape.q_heads);
  const std::size_t width = heads * static_cast<std::size_t>(batch.shape.head_dim);
  return {part(out.o, width, first, last),
          part(out.lse_context, heads, first, last),
          part(out.lse_anchor, heads, first, last),
          part(out.lse_joint, heads, first, last),
          part(out.mass, heads * kKvClasses, first, last),
          out.table_status};
}

void expect_prefill_matches(const DeviceOutput& out, const AttentionWorld& world,
                            const std::string& what) {
  EXPECT_EQ(out.table_status, 0U) << what;
  const ReferenceArgs exact_args = world.reference_args();
  const ReferenceArgs naive_args = world.reference_args(ReferenceRounding::kNaiveBf16);
  const auto heads = static_cast<std::size_t>(world.shape.heads);
  const auto dim = static_cast<std::size_t>(world.shape.head_dim);
  for (std::size_t s = 0; s < world.sequences.size(); ++s) {
    const SequencePlan& plan = world.sequences[s]->plan;
    const ReferenceOutput exact = reference_attention(plan, exact_args);
    const double tolerance = output_tolerance(exact, reference_attention(plan, naive_args));
    const std::string where = what + " sequence " + std::to_string(s);
    const std::size_t first = static_cast<std::size_t>(plan.first_query) * heads;
    double worst = 0.0;
    std::size_t worst_at = 0;
    for (std::size_t i = 0; i < exact.o.size(); ++i) {
      const double error = std::abs(double{float_from_bf16(out.o[first * dim + i])} - exact.o[i]);
      if (error <= worst) continue;  // NaN is worst
      worst = std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
      worst_at = i;
    }
    EXPECT_LE(worst, tolerance) << where << " query " << worst_at / dim / heads << " head "
                                << worst_at / dim % heads << " column " << worst_at % dim;
    for (std::size_t h = 0; h < exact.lse_joint.size(); ++h) {
      const std::size_t at = first + h;
      const std::string row =
          where + " query " + std::to_string(h / heads) + " head " + std::to_string(h % heads);
      expect_lse(out.lse_context[at], exact.lse_context[h], row + " lse_context");
      expect_lse(out.lse_anchor[at], exact.lse_anchor[h], row + " lse_anchor");
      expect_lse(out.lse_joint[at], exact.lse_joint[h], row + " lse_joint");
      double sum = 0.0;
      for (std::size_t c = 0; c < kKvClasses; ++c) {
        const float mass = out.mass[at * kKvClasses + c];
        EXPECT_NEAR(double{mass}, exact.mass[h * kKvClasses + c], 1e-4) << row << " mass " << c;
        sum += double{mass};
      }
      EXPECT_NEAR(sum, std::isinf(exact.lse_joint[h]) ? 0.0 : 1.0, 1e-6) << row;
      if (::testing::Test::HasFailure()) return;  // one row's failures say enough
    }
  }
}

}  // namespace fieldprint::testing
