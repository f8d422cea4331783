#include "runner/cpu/cpu_weights.h"

#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "core/check.h"

namespace fieldprint {
namespace {

constexpr std::size_t kAlign = 64;
constexpr std::size_t kTensorsPerLayer = 16;

std::size_t aligned(std::size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

// ggml's buffer type that rearranges rows for its faster kernels; nullptr if absent.
ggml_backend_buffer_type_t repack_type() {
  ggml_backend_reg_t reg = ggml_backend_cpu_reg();
  auto extra = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(
      ggml_backend_reg_get_proc_address(reg, "ggml_backend_dev_get_extra_bufts"));
  if (extra == nullptr) return nullptr;
  for (auto* type = extra(ggml_backend_reg_dev_get(reg, 0)); *type != nullptr; ++type) {
    if (std::string_view(ggml_backend_buft_name(*type)) == "CPU_REPACK") return *type;
  }
  return nullptr;
}

bool same_type(std::initializer_list<const GgufTensor*> parts) {
  return std::all_of(parts.begin(), parts.end(), [&](const GgufTensor* part) {
    return part->ggml_type == (*parts.begin())->ggml_type;
  });
}

}  // namespace

CpuWeights::~CpuWeights() {
  for (ggml_backend_buffer* buffer : repack_buffers_) ggml_backend_buffer_free(buffer);
  if (context_ != nullptr) ggml_free(context_);
}

Result<std::unique_ptr<CpuWeights>> CpuWeights::load(const Model& model, NumericProfile profile,
                                                     const LoadProgress& progress) {
  std::unique_ptr<CpuWeights> made(new CpuWeights());
  made->profile_ = profile;
  const std::size_t tensors = model.weights.layers.size() * kTensorsPerLayer + 8;
  made->context_ = ggml_init({ggml_tensor_overhead() * tensors, nullptr, /*no_alloc=*/true});
  std::size_t bytes = 0;
  for (const GgufTensor& tensor : model.file->tensors()) bytes += aligned(tensor.bytes);
  FP_ASSIGN(made->memory_, HugeBuffer::allocate(bytes + bytes / 8, "the model's weights"));

  FP_ASSIGN(made->embedding, made->matrix({model.weights.embedding}));
  made->output = made->embedding;
  if (!model.config.tied_embeddings) {
    FP_ASSIGN(made->output, made->matrix({model.weights.output}));
  }
  made->output_norm = made->vector(model.weights.output_norm);
  const auto count = model.weights.layers.size();
  made->layers.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    FP_TRY(made->load_layer(model.weights.layers[i], made->layers[i]));
    if (progress) progress(static_cast<double>(i + 1) / static_cast<double>(count));
  }
  model.file->release_pages();
  return made;
}

Status CpuWeights::load_layer(const LayerWeights& from, CpuLayerWeights& to) {
  to.attn_norm = vector(from.attn_norm);
  if (same_type({from.q, from.k, from.v})) {
    FP_ASSIGN(to.qkv, matrix({from.q, from.k, from.v}));
  } else {
    FP_ASSIGN(to.q, matrix({from.q}));
    FP_ASSIGN(to.k, matrix({from.k}));
    FP_ASSIGN(to.v, matrix({from.v}));
  }
  to.q_bias = vector(from.q_bias);
  to.k_bias = vector(from.k_bias);
  to.v_bias = vector(from.v_bias);
  to.q_norm = vector(from.q_norm);
  to.k_norm = vector(from.k_norm);
  FP_ASSIGN(to.attn_out, matrix({from.attn_out}));
  to.attn_post_norm = vector(from.attn_post_norm);
  to.ffn_norm = vector(from.ffn_norm);
  if (same_type({from.gate, from.up})) {
    FP_ASSIGN(to.gate_up, matrix({from.gate, from.up}));
  } else {
    FP_ASSIGN(to.gate, matrix({from.gate}));
    FP_ASSIGN(to.up, matrix({from.up}));
  }
  FP_ASSIGN(to.down, matrix({from.down}));
  to.ffn_post_norm = vector(from.ffn_post_norm);
  return {};
}

const float* CpuWeights::vector(const GgufTensor* from) {
  if (from == nullptr) return nullptr;
  std::byte* at = memory_.data() + used_;
  used_ += aligned(from->bytes);
  FP_CHECK(used_ <= memory_.size());
  std::memcpy(at, from->data, from->bytes);
  return reinterpret_cast<const float*>(at);
}

// The rows of all parts, one after another, as one matrix.
Result<ggml_tensor*> CpuWeights::matrix(std::initializer_list<const GgufTensor*> parts) {
  const GgufTensor* first = *parts.begin();
  std::int64_t rows = 0;
  std::size_t bytes = 0;
  for (const GgufTensor* part : parts) {
    rows += part->shape[1];
    bytes += part->bytes;
  }
  ggml_tensor* tensor = ggml_new_tensor_2d(context_, static_cast<enum ggml_type>(first->ggml_type),
                                           first->shape[0], rows);
  FP_CHECK(ggml_nbytes(tensor) == bytes);
  std::byte* at = memory_.data() + used_;
  used_ += aligned(bytes);
  FP_CHECK(used_ <= memory_.size());
  tensor->data = at;
  if (try_panels(parts, tensor, at)) return tensor;
  std::byte* to = at;
  for (const GgufTensor* part : parts) {
    std::memcpy(to, part->data, part->bytes);
    to += part->bytes;
  }
  // ggml cannot look embedding rows up in its repacked layouts.
  const bool lookup = embedding == nullptr;
  if (profile_ == NumericProfile::kFast && !lookup && try_repack(tensor, at)) {
    used_ -= aligned(bytes);
  }
  return tensor;
}

// Packs rows into panels at `to` where there is a kernel for their type and machine.
bool CpuWeights::try_panels(std::initializer_list<const GgufTensor*> parts, ggml_tensor* tensor,
                            std::byte* to) {
  const bool known = tensor->type == GGML_TYPE_Q4_1 || tensor->type == GGML_TYPE_Q8_0;
  const bool fits = std::all_of(parts.begin(), parts.end(), [](const GgufTensor* part) {
    return panels::packable(part->shape[1], part->shape[0]);
  });
  if (!known || !fits || !panels::available()) return false;
  const auto format = tensor->type == GGML_TYPE_Q4_1 ? panels::Format::kQ41 : panels::Format::kQ80;
  packed_[tensor] = {format, to, tensor->ne[1], tensor->ne[0]};
  for (const GgufTensor* part : parts) {
    panels::pack(format, part->data, part->shape[1], part->shape[0], to);
    to += part->bytes;
  }
  return true;
}

bool CpuWeights::try_repack(ggml_tensor* tensor, const std::byte* data) {
  static ggml_backend_buffer_type_t type = repack_type();
  if (type == nullptr) return false;
  ggml_backend_buffer_t buffer =
      ggml_backend_buft_alloc_buffer(type, ggml_backend_buft_get_alloc_size(type, tensor));
  if (buffer == nullptr) return false;
  tensor->data = nullptr;
  const auto status =
      ggml_backend_tensor_alloc(buffer, tensor, ggml_backend_buffer_get_base(buffer));
  if (status == GGML_STATUS_SUCCESS && tensor->extra != nullptr) {  // ggml has a layout for it
    ggml_backend_tensor_set(tensor, data, 0, ggml_nbytes(tensor));
    repack_buffers_.push_back(buffer);
    repacked = true;
    return true;
  }
  ggml_backend_buffer_free(buffer);
  tensor->buffer = nullptr;
  tensor->data = const_cast<std::byte*>(data);
  tensor->extra = nullptr;
  return false;
}

}  // namespace fieldprint
