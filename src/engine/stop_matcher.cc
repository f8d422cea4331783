#include "engine/stop_matcher.h"

#include <algorithm>
#include <utility>

#include "core/check.h"

namespace fieldprint {

StopMatcher::StopMatcher(std::vector<std::string> stops) {
  for (std::string& stop : stops) {
    FP_CHECK(!stop.empty());
    Automaton automaton;
    automaton.fallback.assign(stop.size(), 0);
    for (std::size_t i = 1, border = 0; i < stop.size(); ++i) {
      while (border > 0 && stop[i] != stop[border]) border = automaton.fallback[border - 1];
      if (stop[i] == stop[border]) ++border;
      automaton.fallback[i] = border;
    }
    automaton.pattern = std::move(stop);
    automata_.push_back(std::move(automaton));
  }
}

std::size_t StopMatcher::push(char byte) {
  std::size_t longest = 0;
  for (Automaton& a : automata_) {
    if (a.matched == a.pattern.size()) a.matched = a.fallback[a.matched - 1];
    while (a.matched > 0 && a.pattern[a.matched] != byte) a.matched = a.fallback[a.matched - 1];
    if (a.pattern[a.matched] == byte) ++a.matched;
    if (a.matched == a.pattern.size()) longest = std::max(longest, a.matched);
  }
  return longest;
}

std::size_t StopMatcher::held() const {
  std::size_t longest = 0;
  for (const Automaton& a : automata_) longest = std::max(longest, a.matched);
  return longest;
}

}  // namespace fieldprint
