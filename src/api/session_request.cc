#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "api/fields.h"
#include "api/json_body.h"
#include "api/request.h"

namespace fieldprint {
namespace {

using nlohmann::json;

Result<std::optional<std::uint64_t>> read_count(BodyReader& fields, const char* name) {
  FP_ASSIGN(const auto value, fields.integer(name, {0, std::numeric_limits<std::int32_t>::max()}));
  if (!value) return std::nullopt;
  return static_cast<std::uint64_t>(*value);
}

}  // namespace

Result<SessionRequest> parse_session_request(std::string_view body, SessionVerb verb,
                                             const ApiLimits& limits) {
  FP_ASSIGN(const json object, parse_json_body(body, limits));
  BodyReader fields(object, "");
  SessionRequest request;
  FP_ASSIGN(request.target.turn, read_count(fields, "turn"));
  FP_ASSIGN(request.target.token, read_count(fields, "token"));
  if (verb == SessionVerb::kCheckpoint) {
    FP_ASSIGN(auto name, fields.text("name", limits.label_bytes));
    if (!name) return field_missing("name");
    request.name = std::move(*name);
  } else {
    FP_ASSIGN(auto checkpoint, fields.text("checkpoint", limits.label_bytes));
    if (checkpoint && (request.target.turn || request.target.token || checkpoint->empty()))
      return field_wrong_value("checkpoint", "names a place alone, without turn and token");
    request.target.checkpoint = std::move(checkpoint).value_or("");
    // Without a place nothing would go: more likely a slip than a wish.
    const bool nowhere = !checkpoint && !request.target.turn && !request.target.token;
    if (verb == SessionVerb::kRollback && nowhere)
      return field_missing("turn", "or 'token' or 'checkpoint' must say how far to go back");
  }
  const std::vector<std::string> unknown = fields.unknown();
  if (unknown.empty()) return request;
  const std::string name = unknown.front().substr(0, 128);
  return fail(ErrorKind::kInvalid, "unknown_field",
              "'" + name + "' is not a field of this endpoint", name);
}

}  // namespace fieldprint
