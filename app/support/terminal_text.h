// Taking back text that is on a terminal already.
//
// Thread rule: pure functions.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace fieldprint::app {

struct TerminalSize {
  int columns = 80;
  int rows = 24;
};
// Of standard output; the default where it has no size.
TerminalSize terminal_size();

// Where the cursor is after `text`, printed from the beginning of a line. A line that is exactly
// full leaves it in the last column, where terminals keep it until the next character.
struct TextPlace {
  int row = 0;
  int column = 0;
};
TextPlace place_after(std::string_view text, int columns);

// What to print so that only the first `kept` bytes of `text`, which began at the beginning of a
// line, are still to be seen. nullopt: that place has scrolled out of reach.
std::optional<std::string> retraction(std::string_view text, std::size_t kept,
                                      const TerminalSize& size);

}  // namespace fieldprint::app
