// Progress of a task with a known total, for a human or for a log.
//
// kBar   one line, redrawn in place with '\r' (a terminal);
// kLines one whole line at 0 %, each further 10 % and at the end (a pipe, a log file);
// kSilent nothing.
//
// Thread rule: update() may be called from any thread; lines come one at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

namespace fieldprint {

enum class ProgressStyle : std::uint8_t { kSilent, kBar, kLines };

// kBar if file descriptor `fd` is a terminal, else kLines.
ProgressStyle progress_style_for(int fd);

class Progress {
 public:
  // Receives whole pieces of output: for kBar "\r..." and at the end "\n"; for kLines one
  // line without its newline.
  using Sink = std::function<void(std::string_view)>;

  // label: what is being done, e.g. "loading model". total > 0, in any unit.
  Progress(std::string label, std::uint64_t total, ProgressStyle style, Sink sink);
  ~Progress();  // ends a bar's line if finish() was not called
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Work done so far, clamped to total; going backwards is ignored.
  void update(std::uint64_t done);
  // The task is complete: shows 100 % and the time it took. Further calls do nothing.
  void finish();
  // 0..100, rounded down, so 100 means done.
  int percent() const;

 private:
  void draw(std::string_view suffix);

  const std::string label_;
  const std::uint64_t total_;
  const ProgressStyle style_;
  const Sink sink_;
  const std::chrono::steady_clock::time_point start_;
  mutable std::mutex mutex_;
  std::uint64_t done_ = 0;
  int shown_percent_ = -1;
  bool finished_ = false;
};

// Writes to stderr: a bar as it is, a line followed by a newline.
Progress::Sink stderr_progress_sink(ProgressStyle style);

}  // namespace fieldprint
