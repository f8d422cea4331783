#include "app/support/terminal_text.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdint>

namespace fieldprint::app {
namespace {

struct Range {
  std::uint32_t first;
  std::uint32_t last;
};
// Two columns wide: East Asian Wide and Fullwidth blocks of Unicode's EastAsianWidth.txt, and
// emoji. Blocks, not single characters: a wrong guess costs a misplaced cursor.
constexpr Range kWide[] = {{0x1100, 0x115F},   {0x2E80, 0x303E},  {0x3041, 0xA4CF},
                           {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},  {0xFE30, 0xFE6F},
                           {0xFF00, 0xFF60},   {0xFFE0, 0xFFE6},  {0x1F300, 0x1F64F},
                           {0x1F900, 0x1FAFF}, {0x20000, 0x3FFFD}};
constexpr Range kNone[] = {{0x0300, 0x036F}, {0x200B, 0x200F}, {0xFE00, 0xFE0F}};

template <std::size_t N>
bool within(const Range (&ranges)[N], std::uint32_t c) {
  for (const Range& range : ranges) {
    if (c >= range.first && c <= range.last) return true;
  }
  return false;
}

int width_of(std::uint32_t c) {
  if (c < 0x20 || within(kNone, c)) return 0;
  return within(kWide, c) ? 2 : 1;
}

// The next code point; a byte that begins none counts as one.
std::uint32_t take_code_point(std::string_view& text) {
  const auto lead = static_cast<unsigned char>(text.front());
  std::size_t length = 1;
  std::uint32_t c = lead;
  if (lead >= 0xF0) {
    length = 4;
    c = lead & 0x07U;
  } else if (lead >= 0xE0) {
    length = 3;
    c = lead & 0x0FU;
  } else if (lead >= 0xC0) {
    length = 2;
    c = lead & 0x1FU;
  }
  if (length > text.size()) length = text.size();
  for (std::size_t i = 1; i < length; ++i) {
    c = (c << 6U) | (static_cast<unsigned char>(text[i]) & 0x3FU);
  }
  text.remove_prefix(length);
  return c;
}

// The last character with a width, and the marks that belong to it.
std::string_view last_character(std::string_view text) {
  std::size_t at = 0;
  std::string_view left = text;
  while (!left.empty()) {
    const std::size_t begin = text.size() - left.size();
    if (width_of(take_code_point(left)) > 0) at = begin;
  }
  return text.substr(at);
}

}  // namespace

TerminalSize terminal_size() {
  TerminalSize size;
  winsize window{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0 && window.ws_row > 0) {
    size.columns = window.ws_col;
    size.rows = window.ws_row;
  }
  return size;
}

TextPlace place_after(std::string_view text, int columns) {
  constexpr int kTab = 8;
  TextPlace place;
  while (!text.empty()) {
    const std::uint32_t c = take_code_point(text);
    if (c == '\n') {
      place = {place.row + 1, 0};
    } else if (c == '\r') {
      place.column = 0;
    } else if (c == '\t') {
      const int next = (place.column / kTab + 1) * kTab;
      place.column = next < columns ? next : columns - 1;
    } else if (const int width = width_of(c); place.column + width > columns) {
      place = {place.row + 1, width};
    } else {
      place.column += width;
    }
  }
  return place;
}

std::optional<std::string> retraction(std::string_view text, std::size_t kept,
                                      const TerminalSize& size) {
  if (kept >= text.size()) return std::string();
  const TextPlace now = place_after(text, size.columns);
  TextPlace then = place_after(text.substr(0, kept), size.columns);
  const int up = now.row - then.row;
  if (up >= size.rows) return std::nullopt;
  // No code moves behind a full line: its last character is printed again.
  std::string_view again;
  if (then.column >= size.columns) {
    again = last_character(text.substr(0, kept));
    then.column -= place_after(again, size.columns).column;
  }
  std::string out = "\r";
  if (up > 0) out += fmt::format("\x1b[{}A", up);
  if (then.column > 0) out += fmt::format("\x1b[{}C", then.column);
  out += "\x1b[J";  // erase to the end of the screen
  out += again;
  return out;
}

}  // namespace fieldprint::app
