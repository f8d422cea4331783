// The fields that chat and plain completions share.
#pragma once

#include "api/fields.h"
#include "api/request.h"

namespace fieldprint {

// Reads everything of RequestBase but logprobs, max_tokens and ignored fields,
// whose rules differ between the endpoints.
Status read_common_fields(BodyReader& fields, const ApiLimits& limits, RequestBase& base);

// Text: a string; otherwise an array of {"type":"text","text":...} joined without
// a separator. `parts` counts parts over all messages.
Result<std::string> read_content(const nlohmann::json& content, const std::string& param,
                                 const ApiLimits& limits, std::size_t& parts);

// The chat messages of a body. Unknown keys of messages go to `unknown` as
// "messages[].<key>". Errors: missing_field, invalid_*, unsupported.
Result<std::vector<ChatMessage>> read_messages(const nlohmann::json& messages,
                                               const ApiLimits& limits,
                                               std::set<std::string>& unknown);

// An array of token ids. Errors: invalid_type, invalid_value.
Result<std::vector<TokenId>> read_tokens(const nlohmann::json& tokens, const std::string& param);

// The `fieldprint` object: override, session, release, timeline. Other keys in it are refused: what
// is asked of the trust machinery is never ignored. Errors: invalid_type, invalid_value,
// unknown_field.
Status read_fieldprint_field(BodyReader& fields, const ApiLimits& limits, RequestBase& base);

// Fills base.ignored_fields and ignored_count.
void list_ignored(const BodyReader& fields, const std::set<std::string>& nested,
                  const ApiLimits& limits, RequestBase& base);

}  // namespace fieldprint
