// Turns chat messages into labelled token spans, with libllama's built-in templates.
//
// Message content is tokenised apart from the template's own text and never parsed
// for control tokens, so a message cannot forge a role. Each span carries the
// provenance class of the message it belongs to.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "attention/plan.h"
#include "core/error.h"
#include "model/tokenizer.h"

namespace fieldprint {

struct ChatMessage {
  std::string role;     // system, developer, user, assistant, tool
  std::string content;  // UTF-8
};

struct TokenSpan {
  std::vector<TokenId> tokens;
  KvClass cls = KvClass::kUser;
};

// Class of a role: system and developer -> kSystem, user -> kUser, assistant ->
// kOutput, tool -> kTool. Errors: invalid_role.
Result<KvClass> class_of_role(const std::string& role);

struct ChatRender {
  bool add_generation_prompt = true;  // open the assistant's turn at the end
  bool add_bos = true;                // false when the messages continue an anchor
};

class ChatTemplate {
 public:
  // source: a built-in name ("chatml", "llama3", ...) or a model's Jinja source.
  // Errors: chat_template_missing (empty source), chat_template_unsupported.
  static Result<ChatTemplate> create(const std::string& source);

  // Errors: invalid_role; chat_template_dropped_message when the template has no
  // place for a message (a system prompt is never dropped in silence).
  Result<std::vector<TokenSpan>> render(const Tokenizer& tokenizer,
                                        std::span<const ChatMessage> messages,
                                        const ChatRender& options) const;
  // The built-in name, or "sha256:<hex>" of a model's own source.
  const std::string& name() const { return name_; }

 private:
  std::string source_;
  std::string name_;
};

}  // namespace fieldprint
