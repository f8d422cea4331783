// Chat messages of a request body (declared in common_fields.h).
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "api/common_fields.h"

namespace fieldprint {
namespace {

using nlohmann::json;

constexpr std::array kRoles = {"system", "developer", "user", "assistant", "tool"};

Result<std::string> read_role(BodyReader& fields) {
  const json* role = fields.find("role");
  if (role == nullptr) {
    return field_missing(fields.param("role"));
  }
  if (!role->is_string()) return field_wrong_type(fields.param("role"), "a string", *role);
  for (const char* known : kRoles) {
    if (*role == known) return std::string(known);
  }
  return fail(
      ErrorKind::kInvalid, "invalid_role",
      "'" + fields.param("role") + "' must be one of system, developer, user, assistant, tool",
      fields.param("role"));
}

// Keys that carry meaning the template would lose.
Status refuse_message_keys(BodyReader& fields) {
  for (const char* name : {"tool_calls", "function_call", "audio"}) {
    const json* value = fields.find(name);
    if (value != nullptr && !(value->is_structured() && value->empty())) {
      return field_unsupported(fields.param(name), "is not supported yet");
    }
  }
  const json* refusal = fields.find("refusal");
  if (refusal != nullptr && *refusal != json("")) {
    return field_unsupported(fields.param("refusal"), "is not supported");
  }
  return {};
}

Result<ChatMessage> read_message(const json& value, std::size_t index, const ApiLimits& limits,
                                 std::size_t& parts, std::set<std::string>& unknown) {
  const std::string prefix = "messages[" + std::to_string(index) + "]";
  if (!value.is_object()) return field_wrong_type(prefix, "an object", value);
  BodyReader fields(value, prefix + ".");
  ChatMessage message;
  FP_ASSIGN(message.role, read_role(fields));
  FP_TRY(refuse_message_keys(fields));
  const json* content = fields.find("content");
  if (content == nullptr) {
    return field_missing(fields.param("content"), "is missing or null");
  }
  FP_ASSIGN(message.content, read_content(*content, fields.param("content"), limits, parts));
  for (const std::string& name : fields.unknown()) {
    unknown.insert("messages[]" + name.substr(prefix.size()).substr(0, 128));
  }
  return message;
}

}  // namespace

Result<std::string> read_content(const json& content, const std::string& param,
                                 const ApiLimits& limits, std::size_t& parts) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) return field_wrong_type(param, "a string or an array of parts", content);
  parts += content.size();
  if (parts > limits.messages) {
    return field_wrong_value(
        param, "brings the parts of all messages over " + std::to_string(limits.messages));
  }
  std::string text;
  for (std::size_t i = 0; i < content.size(); ++i) {
    const std::string where = param + "[" + std::to_string(i) + "]";
    const json& part = content[i];
    if (!part.is_object()) return field_wrong_type(where, "an object", part);
    const auto type = part.find("type");
    if (type == part.end()) {
      return field_missing(where + ".type");
    }
    if (!type->is_string()) return field_wrong_type(where + ".type", "a string", *type);
    if (*type != "text") {
      return field_unsupported(where + ".type",
                               "is '" + type->get_ref<const std::string&>().substr(0, 64) +
                                   "'; only text parts are supported");
    }
    const auto value = part.find("text");
    if (value == part.end()) {
      return field_missing(where + ".text");
    }
    if (!value->is_string()) return field_wrong_type(where + ".text", "a string", *value);
    text += value->get_ref<const std::string&>();
  }
  return text;
}

Result<std::vector<ChatMessage>> read_messages(const json& messages, const ApiLimits& limits,
                                               std::set<std::string>& unknown) {
  if (!messages.is_array()) return field_wrong_type("messages", "an array", messages);
  if (messages.empty()) return field_wrong_value("messages", "must not be empty");
  if (messages.size() > limits.messages) {
    return field_wrong_value("messages",
                             "holds more than " + std::to_string(limits.messages) + " messages");
  }
  std::vector<ChatMessage> out;
  std::size_t parts = 0;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    FP_ASSIGN(ChatMessage message, read_message(messages[i], i, limits, parts, unknown));
    out.push_back(std::move(message));
  }
  return out;
}

}  // namespace fieldprint
