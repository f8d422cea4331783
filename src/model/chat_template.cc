#include "model/chat_template.h"

#include <llama.h>

#include <algorithm>
#include <optional>

#include "core/check.h"
#include "crypto/sha256.h"
#include "model/model.h"

namespace fieldprint {
namespace {

// Stands for message i's content while the template is rendered, so that content
// can be tokenised apart. Control bytes survive the trimming some templates do.
std::string placeholder(std::size_t i) { return "\x02" + std::to_string(i) + "\x03"; }

// Templates know "system"; OpenAI's "developer" means the same to them.
const char* template_role(const ChatMessage& message) {
  return message.role == "developer" ? "system" : message.role.c_str();
}

bool is_builtin(const std::string& source) {
  std::vector<const char*> names(256);
  const std::int32_t count = llama_chat_builtin_templates(names.data(), names.size());
  names.resize(static_cast<std::size_t>(std::min<std::int32_t>(count, 256)));
  return std::any_of(names.begin(), names.end(), [&](const char* n) { return source == n; });
}

enum class Turn { kClosed, kOpenAssistant };

// The template's text with placeholders for contents; nullopt if libllama does not
// know the template.
std::optional<std::string> apply(const std::string& source,
                                 std::span<const llama_chat_message> messages, Turn turn) {
  std::string text(messages.size() * 64 + 256, '\0');
  auto call = [&] {
    return llama_chat_apply_template(source.c_str(), messages.data(), messages.size(),
                                     turn == Turn::kOpenAssistant, text.data(),
                                     static_cast<std::int32_t>(text.size()));
  };
  std::int32_t size = call();
  if (size < 0) return std::nullopt;
  if (static_cast<std::size_t>(size) > text.size()) {
    text.resize(static_cast<std::size_t>(size));
    size = call();
    FP_CHECK(size >= 0);
  }
  text.resize(static_cast<std::size_t>(size));
  return text;
}

void append(std::vector<TokenSpan>& spans, std::vector<TokenId> tokens, KvClass cls) {
  if (tokens.empty()) return;
  if (spans.empty() || spans.back().cls != cls) spans.push_back({{}, cls});
  auto& to = spans.back().tokens;
  to.insert(to.end(), tokens.begin(), tokens.end());
}

TokenId last_token(const std::vector<TokenSpan>& spans) {
  return spans.empty() ? -1 : spans.back().tokens.back();
}

}  // namespace

Result<KvClass> class_of_role(const std::string& role) {
  if (role == "system" || role == "developer") return KvClass::kSystem;
  if (role == "user") return KvClass::kUser;
  if (role == "assistant") return KvClass::kOutput;
  if (role == "tool") return KvClass::kTool;
  return fail(ErrorKind::kInvalid, "invalid_role",
              "role '" + role + "' is not one of system, developer, user, assistant, tool",
              "messages");
}

Result<ChatTemplate> ChatTemplate::create(const std::string& source) {
  route_ggml_log();
  if (source.empty()) {
    return fail(ErrorKind::kUnsupported, "chat_template_missing",
                "the model has no chat template; use completions, or name one with "
                "--chat-template (for example chatml)");
  }
  const llama_chat_message probe{"user", "x"};
  const bool builtin = is_builtin(source);
  if (!apply(source, {&probe, 1}, Turn::kClosed)) {
    return fail(ErrorKind::kUnsupported, "chat_template_unsupported",
                "the chat template is none of the built-in ones; name the closest with "
                "--chat-template (for example chatml, llama3, mistral-v7)");
  }
  ChatTemplate made;
  made.source_ = source;
  made.name_ = builtin ? source : digest_string(sha256(source));
  return made;
}

Result<std::vector<TokenSpan>> ChatTemplate::render(const Tokenizer& tokenizer,
                                                    std::span<const ChatMessage> messages,
                                                    const ChatRender& options) const {
  std::vector<std::string> holders;
  std::vector<KvClass> classes;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    FP_ASSIGN(const KvClass cls, class_of_role(messages[i].role));
    classes.push_back(cls);
    holders.push_back(placeholder(i));
  }
  std::vector<llama_chat_message> raw;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    raw.push_back({template_role(messages[i]), holders[i].c_str()});
  }
  const Turn turn = options.add_generation_prompt ? Turn::kOpenAssistant : Turn::kClosed;
  const auto text = apply(source_, raw, turn);
  FP_CHECK(text.has_value());

  std::vector<TokenSpan> spans;
  const KvClass first = classes.empty() ? KvClass::kOutput : classes.front();
  if (options.add_bos && tokenizer.adds_bos()) append(spans, {tokenizer.bos()}, first);
  std::size_t at = 0;  // everything before is emitted
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const std::size_t found = text->find(holders[i], at);
    if (found == std::string::npos) {
      return fail(ErrorKind::kUnsupported, "chat_template_dropped_message",
                  "the chat template has no place for message " + std::to_string(i) +
                      " with role '" + messages[i].role + "'; leave it out or use another template",
                  "messages");
    }
    const std::string before = text->substr(at, found - at);
    append(spans, tokenizer.encode_after(last_token(spans), before, true), classes[i]);
    append(spans, tokenizer.encode_after(last_token(spans), messages[i].content, false),
           classes[i]);
    at = found + holders[i].size();
    // The text that closes this turn belongs to it: what rendering one message
    // fewer would have ended with.
    const auto closed = apply(source_, std::span(raw).first(i + 1), Turn::kClosed);
    if (closed && closed->size() >= at && text->compare(0, closed->size(), *closed) == 0) {
      const std::string after = text->substr(at, closed->size() - at);
      append(spans, tokenizer.encode_after(last_token(spans), after, true), classes[i]);
      at = closed->size();
    }
  }
  append(spans, tokenizer.encode_after(last_token(spans), text->substr(at), true),
         KvClass::kOutput);
  return spans;
}

}  // namespace fieldprint
