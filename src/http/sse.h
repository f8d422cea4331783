// Server-sent events: the exact frames OpenAI clients read.
#pragma once

#include <string>
#include <string_view>

namespace fieldprint {

// "data: <json>\n\n". json must be one line.
inline void append_event(std::string& out, std::string_view json) {
  out += "data: ";
  out += json;
  out += "\n\n";
}
// The same with a name, for clients that asked for events of that kind.
inline void append_named_event(std::string& out, std::string_view name, std::string_view json) {
  out += "event: ";
  out += name;
  out += '\n';
  append_event(out, json);
}
inline constexpr std::string_view kSseDone = "data: [DONE]\n\n";
inline constexpr std::string_view kSsePing = ": ping\n\n";  // a comment; readers skip it

}  // namespace fieldprint
