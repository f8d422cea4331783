#include "model/config.h"

#include <ggml.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "model/gguf.h"

namespace fieldprint {
namespace {

struct Family {
  const char* architecture;
  RopeStyle rope_style;
  bool qkv_bias;
  bool qk_norm;
  bool post_norms;
  Activation activation;
};

constexpr Family kFamilies[] = {
    {"llama", RopeStyle::kAdjacent, false, false, false, Activation::kSilu},
    {"qwen2", RopeStyle::kHalves, true, false, false, Activation::kSilu},
    {"qwen3", RopeStyle::kHalves, false, true, false, Activation::kSilu},
    {"gemma3", RopeStyle::kHalves, false, true, true, Activation::kGeluTanh},
};

constexpr int kGemmaWindowPeriod = 6;  // five local layers, then a global one
constexpr int kGemma27bLayers = 62;    // scales queries by hidden/heads, not by head_dim
constexpr double kLeastReal = 1e-30;   // of rope bases, factors and epsilons: inside float's range
constexpr double kMostReal = 1e30;

// Reads "<architecture>.<key>" values and remembers the first problem.
class Reader {
 public:
  Reader(const GgufFile& file, std::string prefix) : file_(file), prefix_(std::move(prefix)) {}

  std::int32_t required(const std::string& key, std::int64_t min, std::int64_t max) {
    const auto value = file_.integer(prefix_ + key);
    if (!value) return bad(key, "is missing or not a single integer");
    return ranged(key, *value, min, max);
  }
  std::int32_t optional(const std::string& key, std::int64_t fallback, std::int64_t min,
                        std::int64_t max) {
    if (!file_.has(prefix_ + key)) return static_cast<std::int32_t>(fallback);
    return required(key, min, max);
  }
  float real(const std::string& key, float fallback) {
    if (!file_.has(prefix_ + key)) return fallback;
    const auto value = file_.real(prefix_ + key);
    if (!value || !(*value >= kLeastReal && *value <= kMostReal)) {
      bad(key, "is not a positive number of usual size");
      return fallback;
    }
    return static_cast<float>(*value);
  }
  Status status() const {
    if (problem_.empty()) return {};
    return fail(ErrorKind::kCorrupt, "model_corrupt",
                file_.path() + ": " + problem_ + "; convert or download the model again");
  }

 private:
  std::int32_t ranged(const std::string& key, std::int64_t value, std::int64_t min,
                      std::int64_t max) {
    if (value < min || value > max) {
      return bad(key, "is " + std::to_string(value) + ", outside " + std::to_string(min) + ".." +
                          std::to_string(max));
    }
    return static_cast<std::int32_t>(value);
  }
  std::int32_t bad(const std::string& key, const std::string& what) {
    if (problem_.empty()) problem_ = prefix_ + key + " " + what;
    return 1;  // any value that keeps the arithmetic below defined
  }

  const GgufFile& file_;
  std::string prefix_;
  std::string problem_;
};

const Family* find_family(const std::string& architecture) {
  for (const Family& family : kFamilies) {
    if (architecture == family.architecture) return &family;
  }
  return nullptr;
}

// Position scaling that we can apply; anything else would change answers in silence.
Status read_rope(const GgufFile& file, Reader& reader, ModelConfig& config) {
  const std::string prefix = config.architecture + ".rope.";
  config.rope_dims = reader.optional("rope.dimension_count", config.head_dim, 2, config.head_dim);
  config.rope_base = reader.real("rope.freq_base", 10000.0F);
  config.rope_base_local = reader.real("rope.freq_base_swa", 10000.0F);
  const std::string scaling = file.text(prefix + "scaling.type").value_or("none");
  const float factor = reader.real("rope.scaling.factor", 1.0F);
  if (scaling == "linear" || (scaling == "none" && file.has(prefix + "scaling.factor"))) {
    config.rope_scale = 1.0F / factor;
  } else if (scaling != "none") {
    return fail(ErrorKind::kUnsupported, "model_unsupported",
                file.path() + " uses rope scaling '" + scaling +
                    "'; only none, linear and llama-3 factors are supported");
  }
  if (const GgufTensor* factors = file.tensor("rope_freqs.weight")) {
    const auto count = static_cast<std::size_t>(config.rope_dims / 2);
    if (factors->ggml_type != GGML_TYPE_F32 || count == 0 ||
        factors->bytes != count * sizeof(float)) {
      return fail(ErrorKind::kCorrupt, "model_corrupt",
                  file.path() + ": rope_freqs.weight does not hold " + std::to_string(count) +
                      " floats; convert the model again");
    }
    config.rope_factors.resize(count);
    std::memcpy(config.rope_factors.data(), factors->data, factors->bytes);
  }
  return {};
}

void read_gemma(Reader& reader, ModelConfig& config) {
  config.embedding_scale = std::sqrt(static_cast<float>(config.hidden));
  config.window = reader.optional("attention.sliding_window", 0, 0, 1 << 24);
  config.window_period = kGemmaWindowPeriod;
  if (config.layers == kGemma27bLayers) {
    config.attention_scale =
        1.0F / std::sqrt(static_cast<float>(config.hidden) / static_cast<float>(config.heads));
  }
}

Status check_shape(const GgufFile& file, const ModelConfig& config) {
  const bool ok = config.heads % config.kv_heads == 0 && config.head_dim % 16 == 0 &&
                  config.rope_dims % 2 == 0 && config.hidden % 16 == 0;
  if (ok) return {};
  return fail(ErrorKind::kUnsupported, "model_unsupported",
              file.path() + ": heads " + std::to_string(config.heads) + ", kv heads " +
                  std::to_string(config.kv_heads) + ", head size " +
                  std::to_string(config.head_dim) + ": heads must divide by kv heads, sizes by 16");
}

std::int32_t read_vocab(const GgufFile& file) {
  if (const GgufTensor* embedding = file.tensor("token_embd.weight")) {
    if (embedding->shape[1] > 0 && embedding->shape[1] <= (1 << 24)) {
      return static_cast<std::int32_t>(embedding->shape[1]);
    }
  }
  return 0;
}

}  // namespace

Result<ModelConfig> read_config(const GgufFile& file) {
  ModelConfig config;
  config.architecture = file.text("general.architecture").value_or("");
  config.name = file.text("general.name").value_or("");
  const Family* family = find_family(config.architecture);
  if (family == nullptr) {
    return fail(ErrorKind::kUnsupported, "model_unsupported",
                file.path() + " has architecture '" + config.architecture +
                    "'; supported are llama (also Mistral, SmolLM2), qwen2, qwen3, gemma3");
  }
  config.rope_style = family->rope_style;
  config.qkv_bias = family->qkv_bias;
  config.qk_norm = family->qk_norm;
  config.post_norms = family->post_norms;
  config.activation = family->activation;

  Reader reader(file, config.architecture + ".");
  config.layers = reader.required("block_count", 1, 1024);
  config.hidden = reader.required("embedding_length", 16, 1 << 17);
  config.heads = reader.required("attention.head_count", 1, 1024);
  config.kv_heads = reader.optional("attention.head_count_kv", config.heads, 1, config.heads);
  config.head_dim = reader.optional("attention.key_length", config.hidden / config.heads, 16, 512);
  config.ffn = reader.required("feed_forward_length", 16, 1 << 20);
  config.context_train = reader.required("context_length", 1, std::numeric_limits<int>::max() / 2);
  config.norm_eps = reader.real("attention.layer_norm_rms_epsilon", 1e-5F);
  config.attention_scale = 1.0F / std::sqrt(static_cast<float>(config.head_dim));
  if (config.architecture == "gemma3") read_gemma(reader, config);
  if (file.has(config.architecture + ".expert_count") &&
      file.integer(config.architecture + ".expert_count").value_or(1) > 0) {
    return fail(ErrorKind::kUnsupported, "model_unsupported",
                file.path() + " is a mixture of experts; only dense models are supported");
  }
  if (file.has(config.architecture + ".final_logit_softcapping")) {
    return fail(ErrorKind::kUnsupported, "model_unsupported",
                file.path() + " caps its logits, which this build cannot do");
  }
  FP_TRY(read_rope(file, reader, config));
  FP_TRY(reader.status());
  config.vocab = read_vocab(file);
  config.tied_embeddings = file.tensor("output.weight") == nullptr;
  if (config.vocab == 0) {
    return fail(ErrorKind::kCorrupt, "model_tensor_missing",
                file.path() + " lacks tensor token_embd.weight; download the model again");
  }
  FP_TRY(check_shape(file, config));
  return config;
}

}  // namespace fieldprint
