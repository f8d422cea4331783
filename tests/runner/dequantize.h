// A copy of a GGUF file with f16 weights. Quantised products round activations to
// 8 bits, which turns any difference in the last bit into one of a quantisation
// step; with f16 weights two correct engines agree closely, and bugs stand out.
#pragma once

#include <ggml.h>
#include <gguf.h>

#include <filesystem>
#include <string>
#include <vector>

#include "core/check.h"
#include "model/gguf.h"

namespace fieldprint::test {

// kBf16: what a runner that holds weights in bf16 can represent, so that both of a comparison
// have the same ones.
enum class WeightRounding { kNone, kBf16 };

inline std::vector<ggml_fp16_t> to_f16(const GgufTensor& tensor, std::size_t elements,
                                       WeightRounding rounding) {
  std::vector<float> floats(elements);
  const auto* traits = ggml_get_type_traits(static_cast<ggml_type>(tensor.ggml_type));
  traits->to_float(tensor.data, floats.data(), static_cast<std::int64_t>(elements));
  if (rounding == WeightRounding::kBf16) {
    for (float& x : floats) x = ggml_bf16_to_fp32(ggml_fp32_to_bf16(x));
  }
  std::vector<ggml_fp16_t> halves(elements);
  ggml_fp32_to_fp16_row(floats.data(), halves.data(), static_cast<std::int64_t>(elements));
  return halves;
}

// Writes `to` unless it exists. Norms and biases stay f32.
inline void write_f16_copy(const std::string& from, const std::string& to,
                           WeightRounding rounding = WeightRounding::kNone) {
  if (std::filesystem::exists(to)) return;
  ggml_context* meta = nullptr;
  gguf_context* source = gguf_init_from_file(from.c_str(), {/*no_alloc=*/true, &meta});
  const auto file = GgufFile::open(from);
  FP_CHECK(source != nullptr && file.has_value());
  gguf_context* out = gguf_init_empty();
  gguf_set_kv(out, source);
  std::vector<std::vector<ggml_fp16_t>> kept;
  ggml_context* shapes = ggml_init({ggml_tensor_overhead() * 4096, nullptr, true});
  for (std::int64_t i = 0; i < gguf_get_n_tensors(source); ++i) {
    const GgufTensor& tensor = *(*file)->tensor(gguf_get_tensor_name(source, i));
    const bool matrix = tensor.ggml_type != GGML_TYPE_F32;
    ggml_tensor* shape = ggml_new_tensor(shapes, matrix ? GGML_TYPE_F16 : GGML_TYPE_F32,
                                         tensor.shape[1] > 1 ? 2 : 1, tensor.shape.data());
    ggml_set_name(shape, tensor.name.c_str());
    shape->data = const_cast<std::byte*>(tensor.data);
    if (matrix) {
      kept.push_back(to_f16(tensor, static_cast<std::size_t>(ggml_nelements(shape)), rounding));
      shape->data = kept.back().data();
    }
    gguf_add_tensor(out, shape);
  }
  const std::string part = to + ".part";
  FP_CHECK(gguf_write_to_file(out, part.c_str(), false));
  std::filesystem::rename(part, to);
  gguf_free(out);
  gguf_free(source);
  ggml_free(shapes);
  ggml_free(meta);
}

}  // namespace fieldprint::test
