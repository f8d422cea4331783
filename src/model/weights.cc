#include "model/weights.h"

#include <ggml.h>

namespace fieldprint {
namespace {

enum class Kind { kMatrix, kVector };

// Looks tensors up and remembers the first that is missing or misshapen.
class Finder {
 public:
  explicit Finder(const GgufFile& file) : file_(file) {}

  const GgufTensor* find(const std::string& name, Kind kind, std::int64_t rows,
                         std::int64_t columns) {
    const GgufTensor* tensor = file_.tensor(name);
    if (!status_) return nullptr;
    if (tensor == nullptr) {
      status_ = fail(ErrorKind::kCorrupt, "model_tensor_missing",
                     file_.path() + " lacks tensor " + name + "; download the model again");
      return nullptr;
    }
    const bool shaped = tensor->shape[0] == rows && tensor->shape[1] == columns &&
                        tensor->shape[2] == 1 && tensor->shape[3] == 1;
    if (!shaped) {
      status_ = fail(ErrorKind::kCorrupt, "model_tensor_shape",
                     file_.path() + ": tensor " + name + " is " + shape_text(*tensor) + ", not " +
                         std::to_string(rows) + "x" + std::to_string(columns) +
                         "; convert the model again");
      return nullptr;
    }
    if (kind == Kind::kVector && tensor->ggml_type != GGML_TYPE_F32) {
      status_ = fail(ErrorKind::kUnsupported, "model_tensor_type",
                     file_.path() + ": tensor " + name + " must be f32");
      return nullptr;
    }
    return tensor;
  }
  const GgufTensor* vector(const std::string& name, std::int64_t size) {
    return find(name, Kind::kVector, size, 1);
  }
  const GgufTensor* matrix(const std::string& name, std::int64_t rows, std::int64_t columns) {
    return find(name, Kind::kMatrix, rows, columns);
  }
  const Status& status() const { return status_; }

 private:
  static std::string shape_text(const GgufTensor& tensor) {
    std::string text = std::to_string(tensor.shape[0]);
    for (std::size_t i = 1; i < tensor.shape.size(); ++i) {
      if (tensor.shape[i] != 1 || i == 1) text += "x" + std::to_string(tensor.shape[i]);
    }
    return text;
  }

  const GgufFile& file_;
  Status status_;
};

LayerWeights find_layer(Finder& finder, const ModelConfig& config, int layer) {
  const std::string prefix = "blk." + std::to_string(layer) + ".";
  const std::int64_t hidden = config.hidden;
  const std::int64_t q_size = std::int64_t{config.heads} * config.head_dim;
  const std::int64_t kv_size = std::int64_t{config.kv_heads} * config.head_dim;
  LayerWeights w;
  w.attn_norm = finder.vector(prefix + "attn_norm.weight", hidden);
  w.q = finder.matrix(prefix + "attn_q.weight", hidden, q_size);
  w.k = finder.matrix(prefix + "attn_k.weight", hidden, kv_size);
  w.v = finder.matrix(prefix + "attn_v.weight", hidden, kv_size);
  if (config.qkv_bias) {
    w.q_bias = finder.vector(prefix + "attn_q.bias", q_size);
    w.k_bias = finder.vector(prefix + "attn_k.bias", kv_size);
    w.v_bias = finder.vector(prefix + "attn_v.bias", kv_size);
  }
  if (config.qk_norm) {
    w.q_norm = finder.vector(prefix + "attn_q_norm.weight", config.head_dim);
    w.k_norm = finder.vector(prefix + "attn_k_norm.weight", config.head_dim);
  }
  w.attn_out = finder.matrix(prefix + "attn_output.weight", q_size, hidden);
  w.ffn_norm = finder.vector(prefix + "ffn_norm.weight", hidden);
  w.gate = finder.matrix(prefix + "ffn_gate.weight", hidden, config.ffn);
  w.up = finder.matrix(prefix + "ffn_up.weight", hidden, config.ffn);
  w.down = finder.matrix(prefix + "ffn_down.weight", config.ffn, hidden);
  if (config.post_norms) {
    w.attn_post_norm = finder.vector(prefix + "post_attention_norm.weight", hidden);
    w.ffn_post_norm = finder.vector(prefix + "post_ffw_norm.weight", hidden);
  }
  return w;
}

}  // namespace

Result<ModelWeights> find_weights(const GgufFile& file, const ModelConfig& config) {
  Finder finder(file);
  ModelWeights weights;
  weights.embedding = finder.matrix("token_embd.weight", config.hidden, config.vocab);
  weights.output_norm = finder.vector("output_norm.weight", config.hidden);
  weights.output = config.tied_embeddings
                       ? weights.embedding
                       : finder.matrix("output.weight", config.hidden, config.vocab);
  weights.layers.reserve(static_cast<std::size_t>(config.layers));
  for (int layer = 0; layer < config.layers && finder.status(); ++layer) {
    weights.layers.push_back(find_layer(finder, config, layer));
  }
  if (!finder.status()) return tl::unexpected(finder.status().error());
  return weights;
}

}  // namespace fieldprint
