#include "http/text_service.h"

namespace fieldprint {
namespace {

class ModelTextService final : public TextService {
 public:
  ModelTextService(const Tokenizer& tokenizer, const ChatTemplate* chat_template)
      : tokenizer_(tokenizer), chat_template_(chat_template) {}

  std::vector<TokenId> encode(std::string_view text, bool parse_special) const override {
    return tokenizer_.encode(text, parse_special);
  }
  std::string decode(std::span<const TokenId> tokens, bool render_special) const override {
    return tokenizer_.decode(tokens, render_special);
  }
  std::int32_t vocab_size() const override { return tokenizer_.vocab_size(); }
  bool is_end_of_generation(TokenId token) const override {
    return tokenizer_.is_end_of_generation(token);
  }
  TokenId bos() const override { return tokenizer_.bos(); }
  bool adds_bos() const override { return tokenizer_.adds_bos(); }

  Result<std::vector<TokenSpan>> render(std::span<const ChatMessage> messages,
                                        const ChatRender& options) const override {
    if (chat_template_ == nullptr) {
      return fail(ErrorKind::kUnsupported, "chat_template_missing",
                  "this model has no chat template; use /v1/completions, or start the server "
                  "with --chat-template <name>");
    }
    return chat_template_->render(tokenizer_, messages, options);
  }

 private:
  const Tokenizer& tokenizer_;
  const ChatTemplate* chat_template_;
};

}  // namespace

std::unique_ptr<TextService> make_text_service(const Tokenizer& tokenizer,
                                               const ChatTemplate* chat_template) {
  return std::make_unique<ModelTextService>(tokenizer, chat_template);
}

}  // namespace fieldprint
