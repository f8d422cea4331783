#include "app/support/status_line.h"

#include <fmt/format.h>

namespace fieldprint::app {
namespace {

double share(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

std::optional<std::string> StatusLine::next(const EngineStats& stats, double seconds) {
  const EngineStats before = last_;
  last_ = stats;
  const bool idle = stats.running == 0 && stats.waiting == 0 && stats.steps == before.steps;
  if (idle || seconds <= 0) return std::nullopt;
  const std::uint64_t prompt = stats.prompt_tokens - before.prompt_tokens;
  const std::uint64_t cached = stats.cached_tokens - before.cached_tokens;
  const std::uint64_t generated = stats.generated_tokens - before.generated_tokens;
  return fmt::format(
      "prompt {:.1f} tok/s, generation {:.1f} tok/s, running {}, waiting {}, KV used {:.1f} %, "
      "prefix cache hits {:.1f} %",
      static_cast<double>(prompt) / seconds, static_cast<double>(generated) / seconds,
      stats.running, stats.waiting,
      share(static_cast<std::uint64_t>(stats.pages_used),
            static_cast<std::uint64_t>(stats.pages_total)),
      share(cached, prompt));
}

}  // namespace fieldprint::app
