#include "runner/cuda/weights.h"

#include "core/check.h"
#include "runner/cuda/upload.h"

namespace fieldprint::cuda {
namespace {

// A part of a fused matrix: where its first row goes, and how far apart its rows lie.
struct Part {
  const GgufTensor* tensor;
  std::int64_t first_row;
  int row_step;
};

// Cuts the device memory and fills it; without an uploader it only counts.
class Builder {
 public:
  Builder(Cutter& cutter, Uploader* uploader) : cutter_(cutter), uploader_(uploader) {}

  Status matrix(std::initializer_list<Part> parts, Matrix& out) {
    const std::int64_t columns = parts.begin()->tensor->shape[0];
    std::int64_t rows = 0;
    for (const Part& part : parts) rows += part.tensor->shape[1];
    auto* to = cutter_.take<std::uint16_t>(static_cast<std::size_t>(rows * columns));
    out = {to, static_cast<std::int32_t>(rows), static_cast<std::int32_t>(columns)};
    if (uploader_ == nullptr) return {};
    for (const Part& part : parts) {
      FP_TRY(uploader_->matrix(*part.tensor, to + part.first_row * columns, part.row_step));
    }
    return {};
  }

  // The vectors one after another; absent ones (nullptr) leave `out` null.
  Status vector(std::initializer_list<const GgufTensor*> parts, const float*& out) {
    std::size_t size = 0;
    for (const GgufTensor* part : parts) {
      if (part == nullptr) return {};
      size += part->bytes / sizeof(float);
    }
    float* to = cutter_.take<float>(size);
    out = to;
    if (uploader_ == nullptr) return {};
    for (const GgufTensor* part : parts) {
      FP_TRY(uploader_->vector(*part, to));
      to += part->bytes / sizeof(float);
    }
    return {};
  }

  Status layer(const LayerWeights& from, CudaLayer& to) {
    FP_TRY(vector({from.attn_norm}, to.attn_norm));
    const std::int64_t q = from.q->shape[1];
    FP_TRY(matrix({{from.q, 0, 1}, {from.k, q, 1}, {from.v, q + from.k->shape[1], 1}}, to.qkv));
    FP_TRY(vector({from.q_bias, from.k_bias, from.v_bias}, to.qkv_bias));
    FP_TRY(vector({from.q_norm}, to.q_norm));
    FP_TRY(vector({from.k_norm}, to.k_norm));
    FP_TRY(matrix({{from.attn_out, 0, 1}}, to.attn_out));
    FP_TRY(vector({from.attn_post_norm}, to.attn_post_norm));
    FP_TRY(vector({from.ffn_norm}, to.ffn_norm));
    FP_TRY(matrix({{from.gate, 0, 2}, {from.up, 1, 2}}, to.gate_up));
    FP_TRY(matrix({{from.down, 0, 1}}, to.down));
    return vector({from.ffn_post_norm}, to.ffn_post_norm);
  }

  Status all(const Model& model, const LoadProgress& progress, CudaWeights& out) {
    FP_TRY(matrix({{model.weights.embedding, 0, 1}}, out.embedding));
    out.output = out.embedding;
    if (!model.config.tied_embeddings) {
      FP_TRY(matrix({{model.weights.output, 0, 1}}, out.output));
    }
    FP_TRY(vector({model.weights.output_norm}, out.output_norm));
    const std::size_t count = model.weights.layers.size();
    out.layers.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      FP_TRY(layer(model.weights.layers[i], out.layers[i]));
      if (progress) progress(static_cast<double>(i + 1) / static_cast<double>(count));
    }
    return {};
  }

 private:
  Cutter& cutter_;
  Uploader* uploader_;
};

}  // namespace

std::size_t CudaWeights::bytes_for(const Model& model) {
  Cutter count;
  CudaWeights unused;
  const Status status = Builder(count, nullptr).all(model, {}, unused);
  FP_CHECK(status);  // nothing is read
  return count.bytes();
}

Result<std::unique_ptr<CudaWeights>> CudaWeights::load(const Model& model,
                                                       const LoadProgress& progress) {
  auto made = std::make_unique<CudaWeights>();
  FP_ASSIGN(made->memory, DeviceBuffer::allocate(bytes_for(model), "the model's weights"));
  Cutter cutter(made->memory.data());
  FP_ASSIGN(Uploader uploader, Uploader::create());
  FP_TRY(Builder(cutter, &uploader).all(model, progress, *made));
  FP_TRY(uploader.finish());
  model.file->release_pages();
  return made;
}

}  // namespace fieldprint::cuda
