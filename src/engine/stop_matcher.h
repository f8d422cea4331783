// Finds stop strings in a stream, byte by byte (one Knuth-Morris-Pratt automaton each).
//
// The first string to be complete ends the stream; of several that end at the same
// byte the longest counts. So the answer does not depend on how the stream was cut
// into tokens. Amortised cost: one comparison per byte and stop string.
//
// Thread rule: one thread per object.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fieldprint {

class StopMatcher {
 public:
  // No string may be empty.
  explicit StopMatcher(std::vector<std::string> stops);

  // Feeds one byte; the length of the stop string that it completes, 0 if none.
  std::size_t push(char byte);
  // How many of the last bytes may be the start of a stop string.
  std::size_t held() const;

 private:
  struct Automaton {
    std::string pattern;
    std::vector<std::size_t> fallback;  // longest border of each prefix
    std::size_t matched = 0;
  };
  std::vector<Automaton> automata_;
};

}  // namespace fieldprint
