// Fields of OpenAI's API and of other servers that would change the answer and
// that this server cannot honour yet. Each is refused by name unless its value is
// the one that changes nothing.
#pragma once

#include "api/fields.h"
#include "core/error.h"

namespace fieldprint {

enum class Endpoint : std::uint8_t { kChat, kCompletion };

// Errors: unsupported.
Status refuse_unsupported(BodyReader& fields, Endpoint endpoint);

}  // namespace fieldprint
