#include "engine/utf8_stream.h"

namespace fieldprint {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

struct LeadByte {
  std::size_t size = 0;  // 0: no sequence starts with it
  unsigned low = 0x80;   // bounds of the second byte (Unicode 15, table 3-7)
  unsigned high = 0xBF;
};

LeadByte classify(unsigned byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {};
  if (byte < 0xE0) return {2};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {};
}

}  // namespace

Utf8Step utf8_step(std::string_view bytes) {
  const LeadByte lead = classify(static_cast<unsigned char>(bytes[0]));
  if (lead.size == 0) return {Utf8State::kInvalid, 1};
  for (std::size_t i = 1; i < lead.size; ++i) {
    if (i == bytes.size()) return {Utf8State::kIncomplete, i};
    const unsigned byte = static_cast<unsigned char>(bytes[i]);
    const unsigned low = i == 1 ? lead.low : 0x80U;
    const unsigned high = i == 1 ? lead.high : 0xBFU;
    if (byte < low || byte > high) return {Utf8State::kInvalid, i};
  }
  return {Utf8State::kComplete, lead.size};
}

bool Utf8Stream::take(Piece& piece, bool at_end) {
  const std::string_view rest = std::string_view(pending_).substr(offset_);
  Utf8Step step;
  if (!rest.empty()) step = utf8_step(rest);
  if (rest.empty() || (step.state == Utf8State::kIncomplete && !at_end)) {
    pending_.erase(0, offset_);
    offset_ = 0;
    return false;
  }
  const bool whole = step.state == Utf8State::kComplete;
  current_.assign(whole ? rest.substr(0, step.size) : kReplacement);
  offset_ += step.size;
  piece = {current_, step.size};
  return true;
}

bool Utf8Stream::next(Piece& piece) { return take(piece, false); }
bool Utf8Stream::flush(Piece& piece) { return take(piece, true); }

}  // namespace fieldprint
