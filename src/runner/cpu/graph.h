// The ggml graph of one step for a given number of tokens and logits rows. Built
// once per shape and reused: it holds pointers to the context's buffers only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "runner/cpu/cpu_ops.h"

struct ggml_context;
struct ggml_cgraph;
struct ggml_threadpool;

namespace fieldprint {

// Buffers outside CpuContext that a graph reads and writes.
struct GraphBuffers {
  std::int32_t* token_ids = nullptr;  // [tokens]
  float* hidden = nullptr;            // [outputs][hidden]: after the final norm
  float* logits = nullptr;            // [outputs][vocab]
};

class StepGraph {
 public:
  // outputs: rows of logits, 0..tokens. With 0 the graph ends at the last layer's
  // KV append: nothing after it could be read.
  StepGraph(CpuContext& context, NumericProfile profile, std::int32_t tokens, std::int32_t outputs,
            const GraphBuffers& buffers);
  ~StepGraph();
  StepGraph(const StepGraph&) = delete;
  StepGraph& operator=(const StepGraph&) = delete;

  // Runs on the pool; work is scratch memory, grown as needed. Errors: ggml_failed.
  Status compute(ggml_threadpool* pool, int threads, std::vector<std::byte>& work);

  std::int32_t tokens() const { return tokens_; }
  std::int32_t outputs() const { return outputs_; }

 private:
  // rounded: what the op that made x left beside it; rounding_for(weight) or kNone.
  ggml_tensor* product(ggml_tensor* weight, ggml_tensor* x, float* out, Rounding rounded);
  Rounding rounding_for(const ggml_tensor* weight) const;
  template <typename Op>
  ggml_tensor* custom(void (*fun)(ggml_tensor*, int, int, void*), Op op, ggml_tensor* after,
                      float* data, std::int64_t width, std::int64_t rows);
  ggml_tensor* embed(const std::int32_t* ids);
  ggml_tensor* attention_inputs(int layer, ggml_tensor* normed);
  ggml_tensor* feed_forward(int layer, ggml_tensor* normed, std::int32_t rows);
  void build(const GraphBuffers& buffers);

  CpuContext& context_;
  const NumericProfile profile_;
  const std::int32_t tokens_;
  const std::int32_t outputs_;
  ggml_context* ggml_ = nullptr;
  ggml_cgraph* graph_ = nullptr;
  std::vector<std::shared_ptr<void>> ops_;  // userdata of the custom ops
};

}  // namespace fieldprint
