// libllama's logits, to compare ours with. Linked into tests only.
#pragma once

#include <llama.h>

#include <string>
#include <vector>

#include "runner/support.h"

namespace fieldprint::test {

enum class FlashAttention { kOn, kOff };
enum class LlamaKv { kF16, kF32 };

class LlamaReference {
 public:
  explicit LlamaReference(const std::string& path) {
    route_ggml_log();
    model_ = llama_model_load_from_file(path.c_str(), llama_model_default_params());
    if (model_ == nullptr) ADD_FAILURE() << "libllama cannot load " << path;
  }
  ~LlamaReference() { llama_model_free(model_); }
  LlamaReference(const LlamaReference&) = delete;
  LlamaReference& operator=(const LlamaReference&) = delete;

  // Of every position, [tokens][vocab], all tokens in one batch.
  std::vector<float> logits(std::span<const TokenId> tokens, FlashAttention flash,
                            LlamaKv kv = LlamaKv::kF16) const {
    llama_context_params params = llama_context_default_params();
    params.n_ctx = 2048;
    params.n_batch = 2048;
    params.n_ubatch = 512;
    params.n_threads = 2;
    params.n_threads_batch = 2;
    params.type_k = params.type_v = kv == LlamaKv::kF16 ? GGML_TYPE_F16 : GGML_TYPE_F32;
    params.flash_attn_type = flash == FlashAttention::kOn ? LLAMA_FLASH_ATTN_TYPE_ENABLED
                                                          : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    llama_context* context = llama_init_from_model(model_, params);
    const auto n = static_cast<std::int32_t>(tokens.size());
    llama_batch batch = llama_batch_init(n, 0, 1);
    for (std::int32_t i = 0; i < n; ++i) {
      batch.token[i] = tokens[static_cast<std::size_t>(i)];
      batch.pos[i] = i;
      batch.n_seq_id[i] = 1;
      batch.seq_id[i][0] = 0;
      batch.logits[i] = 1;
    }
    batch.n_tokens = n;
    EXPECT_EQ(llama_decode(context, batch), 0);
    const auto vocab =
        static_cast<std::size_t>(llama_vocab_n_tokens(llama_model_get_vocab(model_)));
    const float* from = llama_get_logits(context);
    std::vector<float> out(from, from + tokens.size() * vocab);
    llama_batch_free(batch);
    llama_free(context);
    return out;
  }

 private:
  llama_model* model_ = nullptr;
};

}  // namespace fieldprint::test
