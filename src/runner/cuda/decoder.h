// The decoder's launches for one step, for every family: about a dozen a layer.
//
// Nothing here waits for the device or looks at a length on it, so the same code runs eagerly
// and under a CUDA graph's capture.
#pragma once

#include <memory>

#include "core/error.h"
#include "model/config.h"
#include "runner/cuda/anchors.h"
#include "runner/cuda/kv_pages.h"
#include "runner/cuda/products.h"
#include "runner/cuda/results.h"
#include "runner/cuda/step_inputs.h"
#include "runner/cuda/weights.h"

namespace fieldprint::cuda {

class Decoder {
 public:
  // rows, sequences: the most of one step. Errors: model_unsupported (names what the kernels
  // lack), cuda_out_of_memory, cuda_error, cublas_missing.
  static Result<std::unique_ptr<Decoder>> create(const ModelConfig& config,
                                                 std::unique_ptr<CudaWeights> weights,
                                                 NumericProfile profile,
                                                 const StepInputs::Limits& limits);
  // Whether this model's shapes fit the kernels; before anything is loaded.
  static Status check_model(const ModelConfig& config);

  // After create(), once the free memory is known.
  void set_kv(const KvPages* kv) { kv_ = kv; }
  // Room for decode plans over so many pages in all. Errors: cuda_out_of_memory. True: memory
  // moved, CUDA graphs made before are void.
  Result<bool> reserve_pages(std::int32_t total_pages);

  // Launches everything of the step, copies of its results included. `side` carries copies that
  // need not hold up the main stream; it is joined again at the end.
  Status enqueue(const StepInputs& inputs, const AnchorPlaces& anchors, const StepResults& results,
                 cudaStream_t stream, cudaStream_t side);

  const Products& products() const { return *products_; }

 private:
  struct Activations {
    float* residual = nullptr;  // [rows][hidden]
    float* kept = nullptr;      // [rows][hidden]: residual of the output rows alone
    float* branch = nullptr;    // [rows][hidden], only with post norms
    void* normed = nullptr;     // bf16 [rows][hidden]
    void* qkv = nullptr;        // bf16 [rows][q + 2 kv]
    void* q = nullptr;          // bf16 [rows][q], turned
    void* attended = nullptr;   // bf16 [rows][q]
    void* gate_up = nullptr;    // bf16 [rows][2 ffn]
    void* gated = nullptr;      // bf16 [rows][ffn]
    float* mass = nullptr;      // [layers][sequences * heads][8]
    std::uint32_t* kv_status = nullptr;
  };
  // One step on its way through the layers.
  struct Pass {
    const StepInputs& inputs;
    const StepShape& shape;
    StepArrays arrays;
    const AnchorPlaces& anchors;
    const StepResults& results;
    fp_attn_tables all{};      // every sequence
    fp_attn_tables decode{};   // the first of them
    fp_attn_tables prefill{};  // the others
    fp_attn_queries queries{};
    cudaStream_t stream = nullptr;
    cudaStream_t side = nullptr;
    std::int32_t rows = 0;  // still computed: fewer than shape.rows after the last attention
    float* residual = nullptr;
  };

  explicit Decoder(const ModelConfig& config) : config_(config) {}
  Status allocate(const StepInputs::Limits& limits);
  std::size_t cut(Cutter cutter, const StepInputs::Limits& limits);
  Pass begin(const StepInputs& inputs, const AnchorPlaces& anchors, const StepResults& results,
             cudaStream_t stream, cudaStream_t side) const;
  Status plan(const Pass& pass) const;
  Status project_qkv(const Pass& pass, int layer) const;
  Status attend(const Pass& pass, int layer) const;
  void keep_output_rows(Pass& pass) const;
  Status layer(Pass& pass, int layer) const;
  // residual += weight * x, or into act_.branch where a norm comes in between.
  Status add_branch(const Pass& pass, const Matrix& weight, const void* x) const;
  void norm(const Pass& pass, const float* weight, const float* post_weight, float* wide) const;
  void hand_out_taps(const Pass& pass, int completed_layer) const;
  Status finish(const Pass& pass, int layers_attended) const;
  Status output_head(const Pass& pass) const;

  std::size_t q_width() const;

  ModelConfig config_;
  std::unique_ptr<CudaWeights> weights_;
  std::unique_ptr<Products> products_;
  const KvPages* kv_ = nullptr;
  fp_kv_rope rope_{};
  DeviceBuffer memory_;
  DeviceBuffer decode_memory_;
  DeviceBuffer prefill_memory_;
  fp_attn_workspace decode_workspace_{};
  fp_attn_workspace prefill_workspace_{};
  Activations act_;
  Event forked_;
  Event joined_;
};

}  // namespace fieldprint::cuda
