#include "api/json_body.h"

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "codec/utf8.h"

namespace fieldprint {
namespace {

using nlohmann::json;

// Thrown out of the parser's callback to stop early; caught in parse_json_body.
struct LimitHit {
  Error error;
};

[[noreturn]] void stop_parsing(std::string_view code, std::string message) {
  throw LimitHit{Error{ErrorKind::kInvalid, std::string(code), std::move(message), {}}};
}

// Sees every parse event before the library allocates for the next one.
class Watcher {
 public:
  explicit Watcher(const ApiLimits& limits) : limits_(limits) {}

  void see(int depth, json::parse_event_t event, const json& parsed) {
    switch (event) {
      case json::parse_event_t::object_start:
        enter(depth);
        keys_.emplace_back();
        break;
      case json::parse_event_t::array_start:
        enter(depth);
        break;
      case json::parse_event_t::object_end:
        keys_.pop_back();
        break;
      case json::parse_event_t::array_end:
        break;
      case json::parse_event_t::key:
        count();
        see_key(parsed.get_ref<const std::string&>());
        break;
      case json::parse_event_t::value:
        count();
        break;
    }
  }

 private:
  void enter(int depth) {
    count();
    if (depth >= limits_.json_depth) {
      stop_parsing("json_too_deep",
                   "the body nests deeper than " + std::to_string(limits_.json_depth) + " levels");
    }
  }

  void count() {
    if (++values_ > limits_.json_values) {
      stop_parsing("json_too_large",
                   "the body holds more than " + std::to_string(limits_.json_values) + " values");
    }
  }

  // The library would keep the last of two equal keys, a proxy in front of us the
  // first: refuse, so that nobody reads another request than we do.
  void see_key(const std::string& key) {
    if (!keys_.back().insert(key).second) {
      stop_parsing("json_duplicate_key", "key '" + key.substr(0, 64) + "' appears twice");
    }
  }

  const ApiLimits& limits_;
  std::size_t values_ = 0;
  std::vector<std::set<std::string>> keys_;
};

// The library's message without its "[json.exception...] " tag.
std::string reason_of(const json::exception& error) {
  std::string text = error.what();
  const std::size_t end = text.find("] ");
  if (end != std::string::npos) text.erase(0, end + 2);
  return text.substr(0, 300);
}

}  // namespace

Result<json> parse_json_body(std::string_view body, const ApiLimits& limits) {
  if (body.size() > limits.body_bytes) {
    return fail(ErrorKind::kTooLarge, "body_too_large",
                "the body has " + std::to_string(body.size()) + " bytes; the limit is " +
                    std::to_string(limits.body_bytes));
  }
  const std::size_t bad = utf8_valid_prefix(body);
  if (bad != body.size()) {
    return fail(ErrorKind::kInvalid, "invalid_utf8",
                "the body is not UTF-8 at byte " + std::to_string(bad));
  }
  Watcher watcher(limits);
  try {
    json parsed = json::parse(body.begin(), body.end(),
                              [&](int depth, json::parse_event_t event, json& value) {
                                watcher.see(depth, event, value);
                                return true;
                              });
    if (!parsed.is_object()) {
      return fail(ErrorKind::kInvalid, "body_not_object", "the body must be a JSON object");
    }
    return parsed;
  } catch (LimitHit& hit) {
    return tl::unexpected(std::move(hit.error));
  } catch (const json::exception& error) {  // syntax, or a number no double holds
    return fail(ErrorKind::kInvalid, "json_invalid", reason_of(error));
  }
}

}  // namespace fieldprint
