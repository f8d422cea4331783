// The `fieldprint` object of a request body, and the digest an override names a request by.
#include <nlohmann/json.hpp>
#include <utility>

#include "api/common_fields.h"
#include "codec/base64.h"
#include "codec/canonical_json.h"
#include "core/check.h"
#include "crypto/sha256.h"

namespace fieldprint {
namespace {

using nlohmann::json;

constexpr const char* kOverride = "fieldprint.override";
constexpr ReleaseChoice kReleases[] = {ReleaseChoice::kNone, ReleaseChoice::kOff,
                                       ReleaseChoice::kOptimistic, ReleaseChoice::kStrict};

// The envelope as an object, or as base64 of its text for clients that pass it on unread.
Result<std::string> read_envelope(const json& value, const ApiLimits& limits) {
  std::string text;
  if (value.is_object()) {
    text = value.dump();
  } else if (value.is_string()) {
    const auto& encoded = value.get_ref<const std::string&>();
    const auto bytes = base64_decode_any(encoded);
    if (!bytes) return field_wrong_value(kOverride, "is not base64: " + bytes.error().message);
    text.assign(bytes->begin(), bytes->end());
  } else {
    return field_wrong_type(kOverride, "a DSSE envelope, as an object or in base64", value);
  }
  if (text.empty() || text.size() > limits.envelope_bytes) {
    return field_wrong_value(kOverride,
                             "must have 1 to " + std::to_string(limits.envelope_bytes) + " bytes");
  }
  return text;
}

std::string digest_of(CanonicalValue::Object object) {
  const Result<std::string> text = canonical_print(std::move(object));
  FP_CHECK(text.has_value());  // strings were checked as UTF-8, token ids are 32 bits
  return digest_string(sha256(*text));
}

Status read_supervision(BodyReader& fields, const ApiLimits& limits, RequestBase& base) {
  FP_ASSIGN(const auto release, fields.text("release", limits.label_bytes));
  if (release) {
    base.release = parse_release_choice(*release);
    if (!base.release) {
      return field_wrong_value("fieldprint.release", "must be strict, optimistic, off or none");
    }
  }
  FP_ASSIGN(const auto timeline, fields.boolean("timeline"));
  if (timeline.value_or(false)) base.timeline = TimelineWanted::kOn;
  return {};
}

}  // namespace

const char* release_choice_name(ReleaseChoice choice) {
  switch (choice) {
    case ReleaseChoice::kNone:
      return "none";
    case ReleaseChoice::kOff:
      return release_mode_name(ReleaseMode::kOff);
    case ReleaseChoice::kOptimistic:
      return release_mode_name(ReleaseMode::kOptimistic);
    case ReleaseChoice::kStrict:
      return release_mode_name(ReleaseMode::kStrict);
  }
  FP_UNREACHABLE();
}

std::optional<ReleaseChoice> parse_release_choice(std::string_view name) {
  for (const ReleaseChoice choice : kReleases) {
    if (name == release_choice_name(choice)) return choice;
  }
  return std::nullopt;
}

Status read_fieldprint_field(BodyReader& fields, const ApiLimits& limits, RequestBase& base) {
  const json* object = fields.find("fieldprint");
  if (object == nullptr) return {};
  if (!object->is_object()) return field_wrong_type("fieldprint", "an object", *object);
  BodyReader inner(*object, "fieldprint.");
  if (const json* envelope = inner.find("override")) {
    FP_ASSIGN(base.override_envelope, read_envelope(*envelope, limits));
  }
  FP_ASSIGN(auto session, inner.text("session", limits.session_bytes));
  base.session = std::move(session).value_or("");
  FP_TRY(read_supervision(inner, limits, base));
  const std::vector<std::string> unknown = inner.unknown();
  if (!unknown.empty()) {
    const std::string name = unknown.front().substr(0, 128);
    return fail(
        ErrorKind::kInvalid, "unknown_field",
        "'" + name + "' is not known; 'fieldprint' takes override, session, release and timeline",
        name);
  }
  return {};
}

std::string request_digest(const ChatRequest& request) {
  CanonicalValue::Array messages;
  for (const ChatMessage& message : request.messages) {
    messages.emplace_back(
        CanonicalValue::Object{{"content", message.content}, {"role", message.role}});
  }
  return digest_of({{"endpoint", kChatPath}, {"messages", std::move(messages)}});
}

std::string request_digest(const CompletionRequest& request) {
  if (const auto* text = std::get_if<std::string>(&request.prompt)) {
    return digest_of({{"endpoint", kCompletionPath}, {"prompt", *text}});
  }
  CanonicalValue::Array ids;
  for (const TokenId token : std::get<std::vector<TokenId>>(request.prompt)) {
    ids.emplace_back(std::int64_t{token});
  }
  return digest_of({{"endpoint", kCompletionPath}, {"prompt", std::move(ids)}});
}

}  // namespace fieldprint
