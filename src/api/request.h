// Native forms of the request bodies, and their parsers.
//
// The parsers are pure: bytes in, value or error out; any bytes are safe. Body
// fields, defaults and errors: docs/api.md. A field that would change the answer
// and is not supported is refused by name; a field nobody knows is listed in
// ignored_fields.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "api/limits.h"
#include "core/error.h"
#include "engine/request.h"
#include "engine/session.h"
#include "model/chat_template.h"

namespace fieldprint {

enum class Streaming : std::uint8_t { kOff, kOn };
enum class StreamUsage : std::uint8_t { kOff, kOn };     // stream_options.include_usage
enum class TimelineWanted : std::uint8_t { kOff, kOn };  // fieldprint.timeline

// How closely an answer is supervised, weakest first: `fieldprint.release` and the server's
// --release and --min-release.
enum class ReleaseChoice : std::uint8_t {
  kNone,  // not at all: nothing is tapped
  kOff,   // and the rest: ReleaseMode of the same name
  kOptimistic,
  kStrict,
};
const char* release_choice_name(ReleaseChoice choice);  // "none", "off", "optimistic", "strict"
std::optional<ReleaseChoice> parse_release_choice(std::string_view name);

// What chat and plain completions have in common.
struct RequestBase {
  std::string model;  // empty: the request named none
  SamplingParams sampling;
  std::int32_t max_tokens = -1;  // -1: to the context's end
  std::vector<std::string> stop;
  bool ignore_eos = false;
  std::int32_t choices = 1;
  Streaming streaming = Streaming::kOff;
  StreamUsage stream_usage = StreamUsage::kOff;
  std::string user;
  std::string cache_salt;
  std::string override_envelope;         // DSSE text of `fieldprint.override`; empty: none
  std::string session;                   // `fieldprint.session`; empty: none
  std::optional<ReleaseChoice> release;  // `fieldprint.release`; absent: the server's
  TimelineWanted timeline = TimelineWanted::kOff;
  std::vector<std::string> ignored_fields;  // sorted, at most ApiLimits::ignored_listed
  std::size_t ignored_count = 0;            // of all, listed or not
};

struct ChatRequest {
  RequestBase base;
  std::vector<ChatMessage> messages;  // at least one, or none with a session
};

struct CompletionRequest {
  RequestBase base;
  std::variant<std::string, std::vector<TokenId>> prompt;
};

struct TokenizeRequest {
  std::string model;
  std::optional<std::string> text;    // exactly one of text and messages
  std::vector<ChatMessage> messages;  //
  bool add_special_tokens = true;
  bool add_generation_prompt = true;  // messages only
  bool parse_special = false;         // text only
  bool return_token_strs = false;
};

struct DetokenizeRequest {
  std::string model;
  std::vector<TokenId> tokens;
};

// Body of the sessions' POST routes. name: checkpoints only.
struct SessionRequest {
  SessionTarget target;
  std::string name;
};
enum class SessionVerb : std::uint8_t { kRollback, kFork, kCheckpoint };

// Errors of all: those of json_body.h, missing_field, invalid_type, invalid_value,
// invalid_role, unsupported, unknown_field; `param` names the field, as in
// "messages[2].content[0].type".
Result<ChatRequest> parse_chat_request(std::string_view body, const ApiLimits& limits);
Result<CompletionRequest> parse_completion_request(std::string_view body, const ApiLimits& limits);
Result<TokenizeRequest> parse_tokenize_request(std::string_view body, const ApiLimits& limits);
Result<SessionRequest> parse_session_request(std::string_view body, SessionVerb verb,
                                             const ApiLimits& limits);
Result<DetokenizeRequest> parse_detokenize_request(std::string_view body, const ApiLimits& limits);

// What an override may name a request by, and a client can compute beforehand: "sha256:<hex>"
// of canonical JSON (codec/canonical_json.h), {"endpoint":PATH,"messages":[{"content","role"}]}
// or {"endpoint":PATH,"prompt":TEXT or [ids]}. Text parts are joined; sampling is not in it.
std::string request_digest(const ChatRequest& request);
std::string request_digest(const CompletionRequest& request);
inline constexpr const char* kChatPath = "/v1/chat/completions";
inline constexpr const char* kCompletionPath = "/v1/completions";

}  // namespace fieldprint
