#include "app/support/line_reader.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace fieldprint::app {

Result<LineReader::Event> LineReader::next(std::string& line) {
  while (true) {
    const std::size_t end = buffer_.find('\n');
    if (end != std::string::npos) {
      line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      if (line.ends_with("\r")) line.pop_back();
      return Event::kLine;
    }
    if (ended_) {
      if (buffer_.empty()) return Event::kEnd;
      line = std::move(buffer_);
      buffer_.clear();
      return Event::kLine;
    }
    if (buffer_.size() > kMaxLine)
      return fail(ErrorKind::kTooLarge, "input_too_large", "a line has at most 1 MiB");
    char chunk[4096];
    const ssize_t got = ::read(fd_, chunk, sizeof chunk);
    if (got < 0 && errno == EINTR) return Event::kInterrupted;
    if (got < 0)
      return fail(ErrorKind::kIo, "io_read",
                  std::string("standard input: ") + std::strerror(errno));
    ended_ = got == 0;
    buffer_.append(chunk, static_cast<std::size_t>(got));
  }
}

}  // namespace fieldprint::app
