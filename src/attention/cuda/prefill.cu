// The prefill half of the C ABI: argument checks, the planner, the launch.
#include <algorithm>

#include "attention/cuda/check.h"
#include "attention/cuda/device.h"
#include "attention/cuda/kernels/prefill_planner.cuh"
#include "attention/cuda/prefill_launch.h"
#include "attention/cuda/workspace.h"

namespace fieldprint::cuda {
namespace {

// Checks that both calls need.
fp_attn_status check_prefill_step(const fp_attn_shape& shape, const fp_attn_tables* tables,
                                  const fp_attn_queries* queries,
                                  const fp_attn_workspace* workspace) {
  fp_attn_status status = check_tables(shape, tables);
  if (status == FP_ATTN_OK) status = check_queries(shape, queries);
  if (status == FP_ATTN_OK) {
    status = check_workspace(*tables, workspace, fp_attn_prefill_workspace_bytes, shape);
  }
  if (status == FP_ATTN_OK) status = current_device().status;
  return status;
}

QueryView query_view(const fp_attn_queries& q) {
  return {q.starts, q.first_positions, q.page_positions, q.anchor_positions, q.tokens};
}

PrefillArgs prefill_args(const fp_attn_pool& pool, const fp_attn_tables& tables,
                         const fp_attn_queries& queries, const fp_attn_workspace& workspace,
                         const fp_attn_prefill_args& args) {
  const fp_attn_decode_args& base = args.base;
  PrefillArgs prefill{};
  prefill.table = table_view(tables);
  prefill.shape = shape_view(pool.shape, pool.pages);
  prefill.queries = query_view(queries);
  prefill.plan = cut_prefill_workspace(pool.shape, workspace.limits, workspace.data).view;
  const auto group = static_cast<std::uint32_t>(prefill.shape.group);
  prefill.group_magic = group == 1 ? 0 : 0xFFFFFFFFU / group + 1;
  prefill.q = base.q;
  prefill.beta = base.beta;
  prefill.scale_log2 = base.scale * kLog2E;
  prefill.inv_scale = 1.0F / base.scale;
  prefill.policy = {base.modes, base.gamma, base.psi};
  prefill.o = base.o;
  prefill.lse_context = base.lse_context;
  prefill.lse_anchor = base.lse_anchor;
  prefill.lse_joint = base.lse_joint;
  prefill.mass = base.mass;
  prefill.all_rows = args.rows == FP_ATTN_ROWS_ALL ? 1 : 0;
  prefill.window = args.window;
  return prefill;
}

}  // namespace
}  // namespace fieldprint::cuda

using namespace fieldprint::cuda;  // the C functions below are thin

fp_attn_status fp_attn_prefill_plan(const fp_attn_shape* shape, const fp_attn_tables* tables,
                                    const fp_attn_queries* queries,
                                    const fp_attn_workspace* workspace, void* stream) {
  fp_attn_status status = check_shape(shape);
  if (status == FP_ATTN_OK) status = check_prefill_step(*shape, tables, queries, workspace);
  if (status != FP_ATTN_OK) return status;
  const PrefillPlannerArgs args{
      table_view(*tables), shape_view(*shape, 0), query_view(*queries),
      cut_prefill_workspace(*shape, workspace->limits, workspace->data).view,
      shape->head_dim > 128 ? PrefillShape<256>::kItemRows : PrefillShape<128>::kItemRows};
  prefill_plan_kernel<<<1, kPlannerThreads, 0, static_cast<cudaStream_t>(stream)>>>(args);
  return launched();
}

fp_attn_status fp_attn_prefill(const fp_attn_pool* pool, const fp_attn_tables* tables,
                               const fp_attn_queries* queries, const fp_attn_workspace* workspace,
                               const fp_attn_prefill_args* args, void* stream_handle) {
  if (pool == nullptr) return FP_ATTN_NULL_POINTER;
  fp_attn_status status = check_pool(&pool->shape, pool->k, pool->v, pool->pages);
  if (status == FP_ATTN_OK) status = check_prefill_step(pool->shape, tables, queries, workspace);
  if (status == FP_ATTN_OK) status = check_prefill_args(*tables, *queries, args);
  if (status != FP_ATTN_OK) return status;
  const PrefillArgs prefill = prefill_args(*pool, *tables, *queries, *workspace, *args);
  auto* stream = static_cast<cudaStream_t>(stream_handle);
  const int ctas = std::min(current_device().multiprocessors, kMaxPrefillCtas);
  const int dim = pool->shape.head_dim;
  const auto launch = dim == 64    ? launch_prefill_64
                      : dim == 128 ? launch_prefill_128
                                   : launch_prefill_256;
  return launch(*pool, prefill, ctas, stream) == cudaSuccess ? FP_ATTN_OK : FP_ATTN_CUDA_ERROR;
}
