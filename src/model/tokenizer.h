// Tokenizer over the vocabulary of a GGUF file, through libllama's vocab-only load.
//
// Thread rule: const methods may be called from any thread at once.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace fieldprint {

using TokenId = std::int32_t;

class Tokenizer {
 public:
  // Errors: gguf_* as model/gguf.h, tokenizer_unsupported.
  static Result<std::unique_ptr<Tokenizer>> load(const std::string& gguf_path);
  ~Tokenizer();

  // text: UTF-8; other bytes become U+FFFD. parse_special: whether text like "<|im_end|>" becomes a
  // control token. Pass false for anything a user, tool or document wrote.
  std::vector<TokenId> encode(std::string_view text, bool parse_special) const;
  // As encode(), for text that goes on after `previous`. SentencePiece vocabularies put a space
  // before text at the start of a prompt or behind a control token, and nowhere else.
  std::vector<TokenId> encode_after(TokenId previous, std::string_view text,
                                    bool parse_special) const;
  // Bytes of one token; a token can hold part of a UTF-8 sequence. Control tokens
  // give "" unless render_special.
  std::string decode(TokenId token, bool render_special = false) const;
  std::string decode(std::span<const TokenId> tokens, bool render_special = false) const;

  bool is_control(TokenId token) const;
  std::int32_t vocab_size() const;
  bool is_end_of_generation(TokenId token) const;  // EOS, EOT and their like
  TokenId bos() const;                             // -1 if none
  TokenId eos() const;
  bool adds_bos() const;  // whether a prompt starts with bos()
  // Jinja source of the model's chat template; empty if the file has none.
  const std::string& chat_template() const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fieldprint
