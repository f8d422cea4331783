// Reads lines from a file descriptor; a signal can interrupt the wait.
#pragma once

#include <cstdint>
#include <string>

#include "core/error.h"

namespace fieldprint::app {

class LineReader {
 public:
  static constexpr std::size_t kMaxLine = std::size_t{1} << 20;

  explicit LineReader(int fd) : fd_(fd) {}

  enum class Event : std::uint8_t { kLine, kEnd, kInterrupted };
  // The next line without its newline goes to `line`. A last line without newline counts.
  // Errors: input_too_large, io_read.
  Result<Event> next(std::string& line);

 private:
  int fd_;
  bool ended_ = false;
  std::string buffer_;
};

}  // namespace fieldprint::app
