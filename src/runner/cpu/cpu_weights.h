// Weights in the form the CPU graph uses: products of the same input fused into one
// matrix where types allow, repacked by ggml where it has a faster layout, all in
// huge pages. Immutable after load().
#pragma once

#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "core/error.h"
#include "model/model.h"
#include "runner/cpu/cpu_runner.h"
#include "runner/cpu/huge_buffer.h"
#include "runner/cpu/panels.h"

struct ggml_tensor;
struct ggml_context;
struct ggml_backend_buffer;

namespace fieldprint {

struct CpuLayerWeights {
  const float* attn_norm = nullptr;
  // Either qkv alone (fused rows q, k, v), or q, k and v.
  ggml_tensor* qkv = nullptr;
  ggml_tensor* q = nullptr;
  ggml_tensor* k = nullptr;
  ggml_tensor* v = nullptr;
  const float* q_bias = nullptr;  // nullptr: none
  const float* k_bias = nullptr;
  const float* v_bias = nullptr;
  const float* q_norm = nullptr;
  const float* k_norm = nullptr;
  ggml_tensor* attn_out = nullptr;
  const float* attn_post_norm = nullptr;
  const float* ffn_norm = nullptr;
  ggml_tensor* gate_up = nullptr;  // fused rows gate, up; or gate and up
  ggml_tensor* gate = nullptr;
  ggml_tensor* up = nullptr;
  ggml_tensor* down = nullptr;
  const float* ffn_post_norm = nullptr;
};

class CpuWeights {
 public:
  // Errors: memory_exhausted.
  static Result<std::unique_ptr<CpuWeights>> load(const Model& model, NumericProfile profile,
                                                  const LoadProgress& progress);
  ~CpuWeights();

  ggml_tensor* embedding = nullptr;  // never in a layout of ggml's: rows are looked up
  const float* output_norm = nullptr;
  ggml_tensor* output = nullptr;
  std::vector<CpuLayerWeights> layers;
  bool repacked = false;  // whether any matrix uses a layout of ggml's own
  bool panelled() const { return !packed_.empty(); }

  // The matrix in our own layout, or nullptr: then ggml computes with it.
  const panels::PackedMatrix* packed(const ggml_tensor* matrix) const {
    const auto found = packed_.find(matrix);
    return found == packed_.end() ? nullptr : &found->second;
  }

 private:
  CpuWeights() = default;
  Result<ggml_tensor*> matrix(std::initializer_list<const GgufTensor*> parts);
  Status load_layer(const LayerWeights& from, CpuLayerWeights& to);
  const float* vector(const GgufTensor* from);
  bool try_repack(ggml_tensor* tensor, const std::byte* data);
  bool try_panels(std::initializer_list<const GgufTensor*> parts, ggml_tensor* tensor,
                  std::byte* to);

  NumericProfile profile_ = NumericProfile::kFast;
  ggml_context* context_ = nullptr;
  HugeBuffer memory_;
  std::size_t used_ = 0;
  std::vector<ggml_backend_buffer*> repack_buffers_;
  std::unordered_map<const ggml_tensor*, panels::PackedMatrix> packed_;
};

}  // namespace fieldprint
