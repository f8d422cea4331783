// The current device, and small things that every launch needs.
#pragma once

#include "attention/cuda/capi.h"
#include "attention/cuda/kernels/params.cuh"

namespace fieldprint::cuda {

// Checked once per device: Hopper, and room for two decode CTAs.
struct Device {
  fp_attn_status status = FP_ATTN_NO_DEVICE;
  int multiprocessors = 0;
};
const Device& current_device();

// Whether the launch just made was accepted.
fp_attn_status launched();

TableView table_view(const fp_attn_tables& tables);

}  // namespace fieldprint::cuda
