// A conversation in a terminal or a script: history, commands, what is shown.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "app/support/answer.h"
#include "app/support/mass.h"
#include "app/support/model_stack.h"

namespace fieldprint::app {

// kPlain: answers only, no colours, no evidence lines (stdout is not a terminal).
enum class ChatLook : std::uint8_t { kPlain, kTerminal };

class Chat {
 public:
  // Both must outlive the chat. The model must have a chat template.
  Chat(EngineStack& stack, const Settings& settings, ChatLook look);

  enum class After : std::uint8_t { kGoOn, kQuit };
  // One line of the user: a /command, or a message that is answered on stdout. On an
  // error the history is as before. Errors: unknown_chat_command, those of generate().
  Result<After> handle(const std::string& line, InterruptScope& interrupts);

 private:
  Result<After> command(const std::string& line);
  Status answer(const std::string& message, InterruptScope& interrupts);
  void reset();
  std::string anchor_text() const;
  std::string mass_text() const;
  std::string stats_text() const;
  Status save(const std::string& path) const;
  void show_evidence() const;
  std::string dim(const std::string& text) const;

  EngineStack& stack_;
  const Settings& settings_;
  const ChatLook look_;
  const Colour colour_;
  std::vector<ChatMessage> history_;
  std::optional<Answer> last_;
  DetectorState detector_;  // of the conversation so far
  int turns_ = 0;
};

// The /commands, one a line.
std::string chat_help();

}  // namespace fieldprint::app
