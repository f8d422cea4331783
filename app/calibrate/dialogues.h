// Dialogues to calibrate and test supervision with: JSON lines, one dialogue each.
//   {"kind": "healthy"|"breaking", "topic": TEXT, "messages": [{"role": .., "content": ..}, ..]}
// healthy: questions that leave the identity alone; breaking: attempts to make the assistant
// someone else, "topic" says how (role_swap, ignore_identity, poisoned_tool, gradual_shift, ..).
// The last message is not the assistant's: the answer to it is what gets measured.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "model/chat_template.h"

namespace fieldprint::app {

inline constexpr std::size_t kMaxDialogueBytes = std::size_t{8} << 20;  // of a file
inline constexpr std::size_t kMaxDialogues = 4096;
inline constexpr std::size_t kMaxDialogueMessages = 64;

struct Dialogue {
  bool breaking = false;
  std::string topic;
  std::vector<ChatMessage> messages;
};

// Errors: dialogues_invalid (message with the line), dialogues_too_large.
Result<std::vector<Dialogue>> parse_dialogues(std::string_view text);
// examples/dialogues/default.jsonl as it was when the program was built.
std::string_view default_dialogues();

}  // namespace fieldprint::app
