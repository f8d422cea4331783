// What the engine needs of a tokenizer: bytes of a token and where text ends.
//
// Thread rule: const methods may be called from any thread at once.
#pragma once

#include <string>

#include "model/tokenizer.h"

namespace fieldprint {

class TokenDecoder {
 public:
  virtual ~TokenDecoder() = default;
  // Bytes the token adds to the answer: "" for control tokens. May split UTF-8.
  virtual std::string text(TokenId token) const = 0;
  // Bytes that name the token in a list of log-probabilities, control tokens included.
  virtual std::string label(TokenId token) const = 0;
  virtual bool is_end_of_generation(TokenId token) const = 0;
};

}  // namespace fieldprint
