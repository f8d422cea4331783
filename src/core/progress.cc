#include "core/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "core/check.h"

namespace fieldprint {
namespace {

constexpr int kBarCells = 24;

std::string bar_text(int percent) {
  const int filled = percent * kBarCells / 100;
  return std::string(static_cast<std::size_t>(filled), '#') +
         std::string(static_cast<std::size_t>(kBarCells - filled), '.');
}

}  // namespace

ProgressStyle progress_style_for(int fd) {
  return isatty(fd) != 0 ? ProgressStyle::kBar : ProgressStyle::kLines;
}

Progress::Progress(std::string label, std::uint64_t total, ProgressStyle style, Sink sink)
    : label_(std::move(label)),
      total_(total),
      style_(style),
      sink_(std::move(sink)),
      start_(std::chrono::steady_clock::now()) {
  FP_CHECK(total_ > 0);
  update(0);
}

Progress::~Progress() {
  if (!finished_ && style_ == ProgressStyle::kBar) sink_("\n");
}

void Progress::update(std::uint64_t done) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (finished_) return;
  done_ = std::max(done_, std::min(done, total_));
  const int percent = static_cast<int>(done_ * 100 / total_);
  const int step = style_ == ProgressStyle::kLines ? 10 : 1;
  if (shown_percent_ >= 0 && percent / step == shown_percent_ / step) return;
  shown_percent_ = percent;
  if (percent == 100) return;  // finish() shows it, with the time
  draw("");
}

void Progress::finish() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (finished_) return;
  finished_ = true;
  done_ = total_;
  shown_percent_ = 100;
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start_;
  draw(fmt::format(" in {:.1f} s{}", took.count(), style_ == ProgressStyle::kBar ? "\n" : ""));
}

int Progress::percent() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return static_cast<int>(done_ * 100 / total_);
}

void Progress::draw(std::string_view suffix) {
  switch (style_) {
    case ProgressStyle::kSilent:
      return;
    case ProgressStyle::kBar:
      sink_(fmt::format("\r{} [{}] {:3} %{}", label_, bar_text(shown_percent_), shown_percent_,
                        suffix));
      return;
    case ProgressStyle::kLines:
      sink_(fmt::format("{}: {} %{}", label_, shown_percent_, suffix));
      return;
  }
  FP_UNREACHABLE();
}

Progress::Sink stderr_progress_sink(ProgressStyle style) {
  const char* end = style == ProgressStyle::kLines ? "\n" : "";
  return [end](std::string_view text) {
    std::fprintf(stderr, "%.*s%s", static_cast<int>(text.size()), text.data(), end);
    std::fflush(stderr);
  };
}

}  // namespace fieldprint
