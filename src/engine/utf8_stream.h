// Cuts a byte stream into whole UTF-8 sequences.
//
// Bytes that can no longer become a sequence are replaced by U+FFFD, one for each
// maximal subpart (Unicode 15, section 3.9, "U+FFFD Substitution of Maximal Subparts",
// as the WHATWG decoder does). Overlong forms, surrogates and values above U+10FFFF are
// such bytes. An incomplete but so far valid tail is kept until more bytes come.
//
// Thread rule: one thread per object.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace fieldprint {

enum class Utf8State : std::uint8_t {
  kComplete,    // `size` bytes are one sequence
  kInvalid,     // `size` bytes are a maximal subpart of nothing: one U+FFFD
  kIncomplete,  // all bytes given are the start of a sequence
};
struct Utf8Step {
  Utf8State state = Utf8State::kIncomplete;
  std::size_t size = 0;
};
// What stands at the start of `bytes` (not empty).
Utf8Step utf8_step(std::string_view bytes);

class Utf8Stream {
 public:
  struct Piece {
    std::string_view text;  // one sequence, or U+FFFD; valid until the next call
    std::size_t bytes = 0;  // input bytes it stands for
  };
  void push(std::string_view bytes) { pending_.append(bytes); }
  // Takes the next piece; false when only an incomplete tail (or nothing) is left.
  bool next(Piece& piece);
  // Takes what is left after the end of input, the tail as U+FFFD; false when empty.
  bool flush(Piece& piece);

 private:
  bool take(Piece& piece, bool at_end);
  std::string pending_;
  std::size_t offset_ = 0;
  std::string current_;
};

}  // namespace fieldprint
