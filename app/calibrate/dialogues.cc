#include "app/calibrate/dialogues.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "fieldprint_dialogues.h"

namespace fieldprint::app {
namespace {

using Json = nlohmann::json;

tl::unexpected<Error> invalid(std::size_t line, const std::string& what) {
  return fail(ErrorKind::kInvalid, "dialogues_invalid",
              fmt::format("dialogues, line {}: {}", line, what), "dialogues");
}

const std::string* text_of(const Json& object, const char* name) {
  const auto at = object.find(name);
  return at == object.end() ? nullptr : at->get_ptr<const std::string*>();
}

Result<ChatMessage> parse_message(const Json& json, std::size_t line) {
  if (!json.is_object() || json.size() != 2) {
    return invalid(line, "a message has the fields role and content");
  }
  const std::string* const role = text_of(json, "role");
  const std::string* const content = text_of(json, "content");
  if (role == nullptr || content == nullptr || content->empty()) {
    return invalid(line, "role and content of a message are texts, content not an empty one");
  }
  if (*role != "user" && *role != "assistant" && *role != "tool") {
    return invalid(line, fmt::format("role '{}' is not user, assistant or tool", *role));
  }
  return ChatMessage{*role, *content};
}

Result<Dialogue> parse_dialogue(std::string_view text, std::size_t line) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || json.size() != 3) {
    return invalid(line, "not a JSON object with the fields kind, topic and messages");
  }
  const std::string* const kind = text_of(json, "kind");
  const std::string* const topic = text_of(json, "topic");
  const auto messages = json.find("messages");
  if (kind == nullptr || (*kind != "healthy" && *kind != "breaking")) {
    return invalid(line, "kind is \"healthy\" or \"breaking\"");
  }
  if (topic == nullptr || topic->empty()) return invalid(line, "topic is a text");
  if (messages == json.end() || !messages->is_array() || messages->empty() ||
      messages->size() > kMaxDialogueMessages) {
    return invalid(line, fmt::format("messages is a list of 1 to {}", kMaxDialogueMessages));
  }
  Dialogue dialogue{*kind == "breaking", *topic, {}};
  for (const Json& message : *messages) {
    FP_ASSIGN(ChatMessage parsed, parse_message(message, line));
    dialogue.messages.push_back(std::move(parsed));
  }
  if (dialogue.messages.back().role == "assistant") {
    return invalid(line, "the last message is the assistant's; its answer is what gets measured");
  }
  return dialogue;
}

}  // namespace

Result<std::vector<Dialogue>> parse_dialogues(std::string_view text) {
  if (text.size() > kMaxDialogueBytes) {
    return fail(ErrorKind::kTooLarge, "dialogues_too_large",
                fmt::format("dialogues of more than {} bytes are not read", kMaxDialogueBytes),
                "dialogues");
  }
  std::vector<Dialogue> dialogues;
  std::size_t line = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view one = text.substr(at, end - at);
    at = end + 1;
    ++line;
    if (one.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    if (dialogues.size() == kMaxDialogues) {
      return fail(ErrorKind::kTooLarge, "dialogues_too_large",
                  fmt::format("more than {} dialogues are not read", kMaxDialogues), "dialogues");
    }
    FP_ASSIGN(Dialogue dialogue, parse_dialogue(one, line));
    dialogues.push_back(std::move(dialogue));
  }
  return dialogues;
}

std::string_view default_dialogues() { return generated::kDialogues; }

}  // namespace fieldprint::app
