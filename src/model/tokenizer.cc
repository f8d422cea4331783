#include "model/tokenizer.h"

#include <llama.h>

#include <algorithm>

#include "core/check.h"
#include "model/gguf.h"
#include "model/model.h"

namespace fieldprint {
namespace {

// A byte no word piece holds, so that nothing merges with it.
constexpr const char* kLead = "\x01";

}  // namespace

struct Tokenizer::Impl {
  llama_model* model = nullptr;
  const llama_vocab* vocab = nullptr;
  std::string chat_template;
  std::vector<TokenId> lead;  // see encode_after; empty: the vocabulary adds no space

  ~Impl() {
    if (model != nullptr) llama_model_free(model);
  }
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

Result<std::unique_ptr<Tokenizer>> Tokenizer::load(const std::string& gguf_path) {
  route_ggml_log();
  // Our own reader names what is wrong with a bad file; libllama only logs it.
  FP_ASSIGN(const auto file, GgufFile::open(gguf_path));
  auto impl = std::make_unique<Impl>();
  try {
    llama_model_params params = llama_model_default_params();
    params.vocab_only = true;
    impl->model = llama_model_load_from_file(gguf_path.c_str(), params);
  } catch (const std::exception& error) {
    return fail(ErrorKind::kUnsupported, "tokenizer_unsupported",
                "cannot read the vocabulary of " + gguf_path + ": " + error.what());
  }
  if (impl->model == nullptr) {
    return fail(ErrorKind::kUnsupported, "tokenizer_unsupported",
                "cannot read the vocabulary of " + gguf_path +
                    "; FIELDPRINT_DEBUG_GGML=1 shows the library's reason");
  }
  impl->vocab = llama_model_get_vocab(impl->model);
  if (llama_vocab_type(impl->vocab) == LLAMA_VOCAB_TYPE_NONE) {
    return fail(ErrorKind::kUnsupported, "tokenizer_unsupported",
                gguf_path + " has no vocabulary; convert the model with its tokenizer");
  }
  impl->chat_template = file->text("tokenizer.chat_template").value_or("");
  std::unique_ptr<Tokenizer> tokenizer(new Tokenizer(std::move(impl)));
  if (tokenizer->decode(tokenizer->encode("a", false)) == " a")
    tokenizer->impl_->lead = tokenizer->encode(kLead, false);
  return tokenizer;
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, bool parse_special) const {
  if (text.empty()) return {};
  std::vector<TokenId> tokens(text.size() + 8);
  auto call = [&] {
    return llama_tokenize(impl_->vocab, text.data(), static_cast<std::int32_t>(text.size()),
                          tokens.data(), static_cast<std::int32_t>(tokens.size()),
                          /*add_special=*/false, parse_special);
  };
  std::int32_t count = call();
  if (count < 0) {  // minus the size needed
    tokens.resize(static_cast<std::size_t>(-count));
    count = call();
  }
  FP_CHECK(count >= 0);
  tokens.resize(static_cast<std::size_t>(count));
  return tokens;
}

// libllama has no switch for the space: it is put before the lead instead, and both are cut off.
std::vector<TokenId> Tokenizer::encode_after(TokenId previous, std::string_view text,
                                             bool parse_special) const {
  if (text.empty()) return {};
  const std::vector<TokenId>& lead = impl_->lead;
  if (lead.empty() || previous < 0 || is_control(previous)) return encode(text, parse_special);
  std::vector<TokenId> tokens = encode(std::string(kLead).append(text), parse_special);
  const auto lead_size = static_cast<std::ptrdiff_t>(lead.size());
  const bool intact =
      tokens.size() >= lead.size() && std::equal(lead.begin(), lead.end(), tokens.begin());
  if (!intact) return encode(text, parse_special);  // a vocabulary with a piece like "\x01a"
  tokens.erase(tokens.begin(), tokens.begin() + lead_size);
  return tokens;
}

std::string Tokenizer::decode(TokenId token, bool render_special) const {
  if (token < 0 || token >= vocab_size()) return {};
  std::string piece(32, '\0');
  auto call = [&] {
    return llama_token_to_piece(impl_->vocab, token, piece.data(),
                                static_cast<std::int32_t>(piece.size()), /*lstrip=*/0,
                                render_special);
  };
  std::int32_t size = call();
  if (size < 0) {
    piece.resize(static_cast<std::size_t>(-size));
    size = call();
  }
  FP_CHECK(size >= 0);
  piece.resize(static_cast<std::size_t>(size));
  return piece;
}

std::string Tokenizer::decode(std::span<const TokenId> tokens, bool render_special) const {
  std::string text;
  for (const TokenId token : tokens) text += decode(token, render_special);
  return text;
}

bool Tokenizer::is_control(TokenId token) const {
  return token >= 0 && token < vocab_size() && llama_vocab_is_control(impl_->vocab, token);
}
std::int32_t Tokenizer::vocab_size() const { return llama_vocab_n_tokens(impl_->vocab); }
bool Tokenizer::is_end_of_generation(TokenId token) const {
  return llama_vocab_is_eog(impl_->vocab, token);
}
TokenId Tokenizer::bos() const { return llama_vocab_bos(impl_->vocab); }
TokenId Tokenizer::eos() const { return llama_vocab_eos(impl_->vocab); }
bool Tokenizer::adds_bos() const {
  return llama_vocab_get_add_bos(impl_->vocab) && bos() != LLAMA_TOKEN_NULL;
}
const std::string& Tokenizer::chat_template() const { return impl_->chat_template; }

}  // namespace fieldprint
