#include "engine/text_stream.h"

#include <utility>

#include "core/check.h"

namespace fieldprint {

TextStream::TextStream(std::vector<std::string> stops) : stops_(std::move(stops)) {}

TextPiece TextStream::push(std::string_view bytes, std::optional<TokenLogprob> logprob) {
  FP_CHECK(!stopped_);
  bytes_in_ += bytes.size();
  if (logprob) {
    entries_.push_back({std::move(*logprob), released_ + held_.size(), bytes_in_, std::nullopt});
  }
  utf8_.push(bytes);
  TextPiece out;
  mark_decoded_entries();  // a token without bytes is complete where it stands
  for (Utf8Stream::Piece piece; !stopped_ && utf8_.next(piece);) stopped_ = append(piece);
  release(stopped_ ? held_.size() : held_.size() - stops_.held(), out);
  if (stopped_) entries_.clear();
  out.stopped = stopped_;
  return out;
}

TextPiece TextStream::finish() {
  TextPiece out;
  if (stopped_) return out;
  for (Utf8Stream::Piece piece; !stopped_ && utf8_.flush(piece);) stopped_ = append(piece);
  out.stopped = stopped_;
  release(held_.size(), out);
  if (!stopped_) FP_CHECK(entries_.empty());
  entries_.clear();
  stopped_ = true;
  return out;
}

bool TextStream::append(const Utf8Stream::Piece& piece) {
  for (const char byte : piece.text) {
    held_.push_back(byte);
    const std::size_t match = stops_.push(byte);
    if (match == 0) continue;
    // All of the match is still held: a byte is released only when no automaton
    // that is inside a match has read it.
    FP_CHECK(match <= held_.size());
    held_.resize(held_.size() - match);
    // Tokens that begin before the stop string have their last visible byte here.
    const std::uint64_t cut = released_ + held_.size();
    while (!entries_.empty() && entries_.back().text_begin >= cut) entries_.pop_back();
    for (Entry& entry : entries_) {
      if (!entry.text_end || *entry.text_end > cut) entry.text_end = cut;
    }
    return true;
  }
  bytes_done_ += piece.bytes;
  mark_decoded_entries();
  return false;
}

void TextStream::mark_decoded_entries() {
  for (auto entry = entries_.rbegin(); entry != entries_.rend() && !entry->text_end; ++entry) {
    if (entry->byte_end <= bytes_done_) entry->text_end = released_ + held_.size();
  }
}

void TextStream::release(std::size_t count, TextPiece& out) {
  out.text = held_.substr(0, count);
  held_.erase(0, count);
  released_ += count;
  while (!entries_.empty() && entries_.front().text_end &&
         *entries_.front().text_end <= released_) {
    out.logprobs.push_back(std::move(entries_.front().logprob));
    entries_.pop_front();
  }
}

}  // namespace fieldprint
