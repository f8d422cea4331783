// Text that is taken back from a terminal, on a small model of one.
#include "app/support/terminal_text.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <charconv>
#include <vector>

namespace fieldprint::app {
namespace {

// A terminal as xterm has it: the last column holds the cursor until the next character. Lines
// that scroll off are kept above, out of reach. ASCII, tab-free.
class Terminal {
 public:
  explicit Terminal(TerminalSize size) : size_(size), lines_(1) {}

  void print(std::string_view text) {
    while (!text.empty()) {
      if (text.starts_with("\x1b[")) {
        text.remove_prefix(2);
        int count = 1;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
        text.remove_prefix(static_cast<std::size_t>(end - text.data()));
        control(text.front(), count);
      } else {
        put(text.front());
      }
      text.remove_prefix(1);
    }
  }
  std::string shown() const {
    std::string out;
    for (const std::string& line : lines_)
      out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
    while (out.ends_with("\n\n")) out.pop_back();
    return out;
  }

 private:
  int top() const { return std::max(0, static_cast<int>(lines_.size()) - size_.rows); }
  std::string& line() { return lines_[static_cast<std::size_t>(row_)]; }
  void next_row() {
    ++row_;
    column_ = 0;
    if (row_ == static_cast<int>(lines_.size())) lines_.emplace_back();
  }
  void put(char c) {
    if (c == '\n') {
      next_row();
    } else if (c == '\r') {
      column_ = 0;
    } else {
      if (column_ == size_.columns) next_row();
      line().resize(std::max(line().size(), static_cast<std::size_t>(column_) + 1), ' ');
      line()[static_cast<std::size_t>(column_++)] = c;
    }
  }
  void control(char what, int count) {
    column_ = std::min(column_, size_.columns - 1);
    if (what == 'A') row_ = std::max(top(), row_ - count);
    if (what == 'C') column_ = std::min(column_ + count, size_.columns - 1);
    if (what != 'J') return;
    line().resize(std::min(line().size(), static_cast<std::size_t>(column_)));
    for (std::size_t i = static_cast<std::size_t>(row_) + 1; i < lines_.size(); ++i)
      lines_[i].clear();
  }

  TerminalSize size_;
  std::vector<std::string> lines_;
  int row_ = 0;
  int column_ = 0;
};

RC_GTEST_PROP(Retraction, TheTerminalLooksAsIfTheRestWasNeverPrinted, ()) {
  const TerminalSize size{*rc::gen::inRange(2, 12), *rc::gen::inRange(3, 8)};
  const auto text = *rc::gen::container<std::string>(rc::gen::element('a', 'b', 'c', 'd', '\n'));
  const auto kept = *rc::gen::inRange<std::size_t>(0, text.size() + 1);
  const auto more = *rc::gen::container<std::string>(rc::gen::element('x', 'y', '\n'));
  Terminal terminal(size);
  terminal.print(text);
  const auto codes = retraction(text, kept, size);
  const int up =
      place_after(text, size.columns).row - place_after(text.substr(0, kept), size.columns).row;
  RC_ASSERT(codes.has_value() || up >= size.rows - 1);
  RC_PRE(codes.has_value());
  terminal.print(*codes);
  terminal.print(more);
  Terminal expected(size);
  expected.print(text.substr(0, kept) + more);
  RC_ASSERT(terminal.shown() == expected.shown());
}

TEST(Retraction, CountsColumnsNotBytes) {
  EXPECT_EQ(place_after("日本", 80).column, 4);
  EXPECT_EQ(place_after("é", 80).column, 1);
  EXPECT_EQ(place_after("e\xCC\x81", 80).column, 1);  // a combining accent
  EXPECT_EQ(place_after("a\tb", 80).column, 9);
  EXPECT_EQ(place_after("abc日", 4).row, 1);  // a wide character does not fit the last column
  EXPECT_EQ(retraction("ab", 2, {80, 24}), "");
  EXPECT_EQ(retraction("日本", 3, {80, 24}), "\r\x1b[2C\x1b[J");
}

}  // namespace
}  // namespace fieldprint::app
