// Limits on request bodies. Over any of them a request is refused, never cut.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fieldprint {

struct ApiLimits {
  std::size_t body_bytes = 8U << 20;      // 413 body_too_large
  int json_depth = 32;                    // nesting of arrays and objects
  std::size_t json_values = 1U << 20;     // values and keys of one body
  std::size_t messages = 4096;            // and parts in all messages together
  std::size_t stop_strings = 16;          //
  std::size_t stop_bytes = 1024;          // of one stop string
  std::size_t logit_bias = 1024;          // entries
  std::int32_t choices = 16;              // n
  std::int32_t top_logprobs = 20;         //
  std::size_t metadata = 64;              // entries
  std::size_t label_bytes = 4096;         // model, user, salt, metadata values
  std::int32_t max_tokens = 100'000'000;  // far over any context; the engine has the last word
  std::size_t ignored_listed = 64;        // names listed in ignored_fields
  std::size_t envelope_bytes = 49152;     // an override's or revocation's DSSE envelope
  std::size_t session_bytes = 128;        //
};

}  // namespace fieldprint
