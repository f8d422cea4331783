// Attention mass per provenance class, as JSON and as a bar.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "attention/plan.h"

namespace fieldprint::app {

// {"sink": 0.12, "anchor": 0.31, ...}; classes without mass are left out.
nlohmann::ordered_json mass_json(std::span<const float> mass);

// "[SSSAAAAUUUOO] sink 12 % anchor 31 % ..."; each cell is the first letter of its class.
// cells: width of the bar. Colours are ANSI escapes.
enum class Colour : std::uint8_t { kOff, kOn };
std::string mass_bar(std::span<const float> mass, int cells, Colour colour);

}  // namespace fieldprint::app
