// CUDA graphs of decode steps, one for each shape.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <map>
#include <tuple>

#include "core/error.h"
#include "runner/cuda/step_inputs.h"

namespace fieldprint::cuda {

class StepGraphs {
 public:
  StepGraphs() = default;
  ~StepGraphs() { clear(); }
  StepGraphs(const StepGraphs&) = delete;
  StepGraphs& operator=(const StepGraphs&) = delete;

  // Runs `enqueue` on the stream: the first time as it is (libraries load what they need), the
  // second time under capture, from then on as one launch. tap_layer: -1 for none.
  // Errors: those of enqueue; cuda_error.
  Status run(const StepShape& shape, std::int32_t tap_layer, cudaStream_t stream,
             const std::function<Status()>& enqueue);
  // When memory that the graphs name has moved.
  void clear();

 private:
  using Key = std::tuple<StepShape, std::int32_t>;
  static Result<cudaGraphExec_t> capture(cudaStream_t stream,
                                         const std::function<Status()>& enqueue);

  std::map<Key, cudaGraphExec_t> graphs_;  // null: seen once
};

}  // namespace fieldprint::cuda
