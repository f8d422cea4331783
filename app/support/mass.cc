#include "app/support/mass.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "core/check.h"

namespace fieldprint::app {
namespace {

constexpr float kShown = 0.0005F;  // less is rounding

// Foreground colours, by class id: grey, magenta, cyan, blue, yellow, green, white, red.
constexpr int kClassColours[kKvClasses] = {90, 35, 36, 34, 33, 32, 37, 31};

std::string painted(const std::string& text, int cls, Colour colour) {
  if (colour == Colour::kOff || text.empty()) return text;
  return fmt::format("\x1b[{}m{}\x1b[0m", kClassColours[cls], text);
}

const char* class_name(int cls) { return kv_class_name(static_cast<KvClass>(cls)); }

}  // namespace

nlohmann::ordered_json mass_json(std::span<const float> mass) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (int cls = 0; cls < static_cast<int>(mass.size()); ++cls) {
    const float share = mass[static_cast<std::size_t>(cls)];
    if (share > 0) json[class_name(cls)] = std::round(static_cast<double>(share) * 1e6) / 1e6;
  }
  return json;
}

std::string mass_bar(std::span<const float> mass, int cells, Colour colour) {
  FP_CHECK(mass.size() == static_cast<std::size_t>(kKvClasses) && cells > 0);
  std::string bar;
  std::string legend;
  double before = 0;
  for (int cls = 0; cls < kKvClasses; ++cls) {
    const double share = std::max(0.0F, mass[static_cast<std::size_t>(cls)]);
    // Cell borders are rounded sums, so the bar is never too long.
    const auto from = std::lround(std::min(1.0, before) * cells);
    const auto to = std::lround(std::min(1.0, before + share) * cells);
    before += share;
    const auto letter = static_cast<char>(std::toupper(class_name(cls)[0]));
    // "sink" and "system" share a letter: the system's is small.
    const char cell = cls == static_cast<int>(KvClass::kSystem) ? 's' : letter;
    bar += painted(std::string(static_cast<std::size_t>(to - from), cell), cls, colour);
    if (share >= kShown)
      legend += painted(fmt::format(" {} {:.0f} %", class_name(cls), share * 100), cls, colour);
  }
  return fmt::format("[{}]{}", bar, legend);
}

}  // namespace fieldprint::app
