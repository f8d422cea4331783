// The runner for CPUs: ggml computes the weight products, everything between them
// and the attention is ours (runner/cpu/cpu_ops.h, attention/cpu/cpu_attention.h).
#pragma once

#include <cstdint>
#include <memory>

#include "attention/cpu/kv_layout.h"
#include "model/model.h"
#include "runner/profile.h"
#include "runner/runner.h"

namespace fieldprint {

// Cores that this process may use, at least 1: what threads = 0 means.
int usable_cores();

// In kInvariant, types that ggml repacks cost prompt speed.
struct CpuRunnerOptions {
  int threads = 0;             // 0 = one per core this process may use
  std::int64_t kv_tokens = 0;  // capacity of the KV pool; rounded up to pages; > 0
  std::int32_t max_step_tokens = 512;
  NumericProfile profile = NumericProfile::kFast;
  KvDtype kv_dtype = KvDtype::kBf16;
  LoadProgress progress;
};

// Errors: memory_exhausted, cpu_too_old (ggml was built for instructions this CPU
// lacks), attention_shape_unsupported.
Result<std::unique_ptr<Runner>> make_cpu_runner(std::shared_ptr<const Model> model,
                                                const CpuRunnerOptions& options);

}  // namespace fieldprint
