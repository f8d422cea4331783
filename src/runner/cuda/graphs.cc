#include "runner/cuda/graphs.h"

#include "runner/cuda/status.h"

namespace fieldprint::cuda {

void StepGraphs::clear() {
  for (const auto& [key, graph] : graphs_) {
    if (graph != nullptr) cudaGraphExecDestroy(graph);
  }
  graphs_.clear();
}

// Thread-local capture: other threads may use the device meanwhile.
Result<cudaGraphExec_t> StepGraphs::capture(cudaStream_t stream,
                                            const std::function<Status()>& enqueue) {
  FP_TRY(
      check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capturing a step"));
  const Status enqueued = enqueue();
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream, &graph);
  if (!enqueued) {
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();
    return tl::unexpected(enqueued.error());
  }
  FP_TRY(check(ended, "capturing a step"));
  cudaGraphExec_t made = nullptr;
  const cudaError_t error = cudaGraphInstantiate(&made, graph, 0);
  cudaGraphDestroy(graph);
  FP_TRY(check(error, "capturing a step"));
  return made;
}

Status StepGraphs::run(const StepShape& shape, std::int32_t tap_layer, cudaStream_t stream,
                       const std::function<Status()>& enqueue) {
  const auto [entry, is_new] = graphs_.try_emplace(Key{shape, tap_layer}, nullptr);
  if (is_new) return enqueue();
  if (entry->second == nullptr) {
    FP_ASSIGN(entry->second, capture(stream, enqueue));
  }
  return check(cudaGraphLaunch(entry->second, stream), "launching a step");
}

}  // namespace fieldprint::cuda
