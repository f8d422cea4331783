// Strict JSON parsing of bytes from outside.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "api/limits.h"
#include "core/error.h"

namespace fieldprint {

// One JSON object and nothing after it. RFC 8259, plus: UTF-8 must be well formed,
// keys of an object differ, depth and number of values are limited.
// Errors: body_too_large, invalid_utf8, json_invalid, json_too_deep,
// json_too_large, json_duplicate_key, body_not_object.
Result<nlohmann::json> parse_json_body(std::string_view body, const ApiLimits& limits);

}  // namespace fieldprint
