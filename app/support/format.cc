#include "app/support/format.h"

#include <fmt/format.h>

namespace fieldprint::app {

std::string human_bytes(std::uint64_t bytes) {
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  int unit = 0;
  for (; value >= 1024 && unit < 4; ++unit) value /= 1024;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, units[unit]);
}

std::string human_count(std::int64_t count) {
  const char* units[] = {"", " k", " M", " G"};
  auto value = static_cast<double>(count);
  int unit = 0;
  for (; value >= 1000 && unit < 3; ++unit) value /= 1000;
  return unit == 0 ? std::to_string(count) : fmt::format("{:.1f}{}", value, units[unit]);
}

std::string short_digest(const std::string& digest) {
  return digest.substr(0, std::string("sha256:").size() + 12);
}

}  // namespace fieldprint::app
