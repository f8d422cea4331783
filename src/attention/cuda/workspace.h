// How the caller's workspace is cut into the plan and the partial results.
#pragma once

#include <cstddef>
#include <cstdint>

#include "attention/cuda/capi.h"
#include "attention/cuda/kernels/prefill_params.cuh"

namespace fieldprint::cuda {

struct WorkspaceLayout {
  PlanView view;
  std::size_t bytes;
};

// Cuts `data` (may be null, to learn the size only).
WorkspaceLayout cut_workspace(const fp_attn_shape& shape, const fp_attn_limits& limits, void* data);

struct PrefillWorkspaceLayout {
  PrefillPlanView view;
  std::size_t bytes;
};
PrefillWorkspaceLayout cut_prefill_workspace(const fp_attn_shape& shape,
                                             const fp_attn_limits& limits, void* data);

// The sizes kernels need. The shape has been checked.
ShapeView shape_view(const fp_attn_shape& shape, std::int32_t pool_pages);

}  // namespace fieldprint::cuda
