// Judges by words alone whether an answer gave the assistant's identity up. Knows nothing of states
// and angles, so it can judge what supervision does. It sees surface forms only.
//
// Thread rule: a pure function.
#pragma once

#include <cstdint>
#include <string_view>

namespace fieldprint {

enum class PersonaVerdict : std::uint8_t {
  kUnclear,  // neither
  kKept,     // says who it is: its name, an assistant, not a human
  kBroken,   // speaks as somebody else: another name or kind, or in another's manner
};

// name: the assistant's. Broken wins over kept.
PersonaVerdict judge_persona(std::string_view answer, std::string_view name);

}  // namespace fieldprint
