// What the HTTP layer needs of a model's text side: tokens and chat templates.
// An interface, so that the server can be tested without a model file.
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
#include "model/chat_template.h"
#include "model/tokenizer.h"

namespace fieldprint {

class TextService {
 public:
  virtual ~TextService() = default;
  virtual std::vector<TokenId> encode(std::string_view text, bool parse_special) const = 0;
  // Bytes of the tokens; they may end inside a UTF-8 sequence.
  virtual std::string decode(std::span<const TokenId> tokens, bool render_special) const = 0;
  virtual std::int32_t vocab_size() const = 0;
  virtual bool is_end_of_generation(TokenId token) const = 0;
  virtual TokenId bos() const = 0;  // -1 if none
  virtual bool adds_bos() const = 0;
  // Errors: chat_template_missing with the remedy, invalid_role, chat_template_*.
  virtual Result<std::vector<TokenSpan>> render(std::span<const ChatMessage> messages,
                                                const ChatRender& options) const = 0;
};

// The real one. Both must outlive it; chat_template may be null (base models):
// then render() fails with chat_template_missing.
std::unique_ptr<TextService> make_text_service(const Tokenizer& tokenizer,
                                               const ChatTemplate* chat_template);

}  // namespace fieldprint
