// Turns the tokens of one choice into text that may be sent.
//
// Held back until it is decided: an incomplete UTF-8 sequence, and text that may be the
// start of a stop string. A stop string and everything after it is removed. Text
// released is never taken back, and how tokens cut it does not change it.
//
// A token's logprob entry leaves with the text that completes the token: the first
// delta after which all its bytes (and, where it ends inside a UTF-8 sequence, the
// whole sequence) are out. At a stop string, tokens that begin inside it are dropped.
//
// Thread rule: one thread per object.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/request.h"
#include "engine/stop_matcher.h"
#include "engine/utf8_stream.h"

namespace fieldprint {

struct TextPiece {
  std::string text;
  std::vector<TokenLogprob> logprobs;
  bool stopped = false;  // a stop string was found; nothing may be pushed after it
  bool empty() const { return text.empty() && logprobs.empty(); }
  void append(TextPiece next) {
    text += next.text;
    std::ranges::move(next.logprobs, std::back_inserter(logprobs));
    stopped = stopped || next.stopped;
  }
};

class TextStream {
 public:
  // stops: valid UTF-8, none empty.
  explicit TextStream(std::vector<std::string> stops);

  // Adds a token's bytes ("" is allowed) and returns what may be sent now.
  TextPiece push(std::string_view bytes, std::optional<TokenLogprob> logprob);
  // The end of generation without a stop string: releases everything held.
  TextPiece finish();

 private:
  struct Entry {
    TokenLogprob logprob;
    std::uint64_t text_begin = 0;           // offset in the text where the token starts
    std::uint64_t byte_end = 0;             // offset in the input where it ends
    std::optional<std::uint64_t> text_end;  // offset in the text, once decoded that far
  };
  bool append(const Utf8Stream::Piece& piece);  // true: a stop string is complete
  void mark_decoded_entries();
  void release(std::size_t count, TextPiece& out);

  Utf8Stream utf8_;
  StopMatcher stops_;
  std::string held_;              // decoded, not released
  std::uint64_t released_ = 0;    // text bytes released
  std::uint64_t bytes_in_ = 0;    // input bytes given
  std::uint64_t bytes_done_ = 0;  // input bytes decoded
  std::deque<Entry> entries_;
  bool stopped_ = false;
};

}  // namespace fieldprint
