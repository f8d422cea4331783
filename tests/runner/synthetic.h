// Small models with random f32 weights in every supported architecture, so that the
// decoder can be compared with libllama where no real model is at hand. The
// vocabulary is SmolLM2's.
#pragma once

#include <ggml.h>
#include <gguf.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "core/check.h"

namespace fieldprint::test {

struct SyntheticModel {
  std::string architecture = "llama";
  std::uint32_t layers = 2;
  std::uint32_t hidden = 64;
  std::uint32_t heads = 4;
  std::uint32_t kv_heads = 2;
  std::uint32_t head_dim = 16;
  std::uint32_t ffn = 96;
  std::uint32_t window = 0;   // gemma3
  float rope_linear = 0;      // scaling factor, 0: none
  bool rope_factors = false;  // llama 3 style rope_freqs.weight
  bool tied = true;
  std::string leave_out = {};  // a tensor to omit, for error tests
};

class SyntheticWriter {
 public:
  explicit SyntheticWriter(const SyntheticModel& model) : model_(model), random_(1234) {
    shapes_ = ggml_init({ggml_tensor_overhead() * 1024, nullptr, /*no_alloc=*/true});
  }
  ~SyntheticWriter() { ggml_free(shapes_); }

  // vocabulary: a GGUF file whose tokenizer keys are copied.
  void write(const std::string& vocabulary, const std::string& to) {
    gguf_context* source = gguf_init_from_file(vocabulary.c_str(), {true, nullptr});
    FP_CHECK(source != nullptr);
    out_ = gguf_init_empty();
    gguf_set_kv(out_, source);
    vocab_ = gguf_get_arr_n(source, gguf_find_key(source, "tokenizer.ggml.tokens"));
    metadata();
    tensors();
    FP_CHECK(gguf_write_to_file(out_, to.c_str(), false));
    gguf_free(out_);
    gguf_free(source);
  }

 private:
  void number(const std::string& key, std::uint32_t value) {
    gguf_set_val_u32(out_, (model_.architecture + "." + key).c_str(), value);
  }
  void real(const std::string& key, float value) {
    gguf_set_val_f32(out_, (model_.architecture + "." + key).c_str(), value);
  }
  void metadata() {
    gguf_set_val_str(out_, "general.architecture", model_.architecture.c_str());
    number("block_count", model_.layers);
    number("context_length", 2048);
    number("embedding_length", model_.hidden);
    number("feed_forward_length", model_.ffn);
    number("attention.head_count", model_.heads);
    number("attention.head_count_kv", model_.kv_heads);
    number("attention.key_length", model_.head_dim);
    number("attention.value_length", model_.head_dim);
    number("rope.dimension_count", model_.head_dim);
    number("vocab_size", static_cast<std::uint32_t>(vocab_));
    real("attention.layer_norm_rms_epsilon", 1e-5F);
    real("rope.freq_base", 10000.0F);
    if (model_.window > 0) number("attention.sliding_window", model_.window);
    if (model_.rope_linear > 0) {
      gguf_set_val_str(out_, (model_.architecture + ".rope.scaling.type").c_str(), "linear");
      real("rope.scaling.factor", model_.rope_linear);
    }
  }
  void tensors() {
    const std::int64_t h = model_.hidden;
    const std::int64_t q = std::int64_t{model_.heads} * model_.head_dim;
    const std::int64_t kv = std::int64_t{model_.kv_heads} * model_.head_dim;
    const bool gemma = model_.architecture == "gemma3";
    add("token_embd.weight", h, static_cast<std::int64_t>(vocab_), 0, 0.5F);
    add("output_norm.weight", h, 0, 1, 0.1F);
    if (!model_.tied) add("output.weight", h, static_cast<std::int64_t>(vocab_), 0, 0.3F);
    if (model_.rope_factors) add("rope_freqs.weight", model_.head_dim / 2, 0, 2, 0.5F);
    for (std::uint32_t l = 0; l < model_.layers; ++l) {
      const std::string p = "blk." + std::to_string(l) + ".";
      add(p + "attn_norm.weight", h, 0, 1, 0.1F);
      add(p + "attn_q.weight", h, q, 0, scale(h));
      add(p + "attn_k.weight", h, kv, 0, scale(h));
      add(p + "attn_v.weight", h, kv, 0, scale(h));
      if (model_.architecture == "qwen2") {
        add(p + "attn_q.bias", q, 0, 0, 0.5F);
        add(p + "attn_k.bias", kv, 0, 0, 0.5F);
        add(p + "attn_v.bias", kv, 0, 0, 0.5F);
      }
      if (model_.architecture == "qwen3" || gemma) {
        add(p + "attn_q_norm.weight", model_.head_dim, 0, 1, 0.2F);
        add(p + "attn_k_norm.weight", model_.head_dim, 0, 1, 0.2F);
      }
      add(p + "attn_output.weight", q, h, 0, scale(q));
      add(p + "ffn_norm.weight", h, 0, 1, 0.1F);
      add(p + "ffn_gate.weight", h, model_.ffn, 0, scale(h));
      add(p + "ffn_up.weight", h, model_.ffn, 0, scale(h));
      add(p + "ffn_down.weight", model_.ffn, h, 0, scale(model_.ffn));
      if (gemma) {
        add(p + "post_attention_norm.weight", h, 0, 1, 0.1F);
        add(p + "post_ffw_norm.weight", h, 0, 1, 0.1F);
      }
    }
  }
  static float scale(std::int64_t fan_in) { return 2.0F / std::sqrt(static_cast<float>(fan_in)); }

  // Normal values around `mean`; columns 0 makes a vector.
  void add(const std::string& name, std::int64_t rows, std::int64_t columns, float mean,
           float spread) {
    if (name == model_.leave_out) return;
    ggml_tensor* tensor = columns == 0 ? ggml_new_tensor_1d(shapes_, GGML_TYPE_F32, rows)
                                       : ggml_new_tensor_2d(shapes_, GGML_TYPE_F32, rows, columns);
    ggml_set_name(tensor, name.c_str());
    std::normal_distribution<float> normal(mean, spread);
    std::vector<float> values(static_cast<std::size_t>(ggml_nelements(tensor)));
    for (float& value : values) value = normal(random_);
    if (name == "rope_freqs.weight") {
      for (float& value : values) value = 1.0F + std::abs(value);
    }
    kept_.push_back(std::move(values));
    tensor->data = kept_.back().data();
    gguf_add_tensor(out_, tensor);
  }

  SyntheticModel model_;
  std::mt19937 random_;
  ggml_context* shapes_ = nullptr;
  gguf_context* out_ = nullptr;
  std::size_t vocab_ = 0;
  std::vector<std::vector<float>> kept_;
};

}  // namespace fieldprint::test
