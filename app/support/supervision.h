// An anchor's supervision recipe in words.
#pragma once

#include <string>

#include "anchor/artifact.h"

namespace fieldprint::app {

// One line: "none", or the recipe's digest and what it measures; with the error where it cannot be
// read.
std::string supervision_line(const AnchorArtifact& anchor);

}  // namespace fieldprint::app
