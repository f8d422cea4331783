#include "app/support/supervision.h"

#include <fmt/format.h>

#include "app/support/format.h"
#include "crypto/sha256.h"
#include "supervisor/recipe.h"

namespace fieldprint::app {

std::string supervision_line(const AnchorArtifact& anchor) {
  if (anchor.supervision.empty()) return "none";
  const auto recipe = parse_supervision_recipe(anchor.supervision);
  if (!recipe) return fmt::format("{}: {}", recipe.error().code, recipe.error().message);
  std::string line = short_digest(digest_string(sha256(anchor.supervision))) + ", fingerprints";
  if (recipe->coherence) {
    line += fmt::format(", angles after block {} in {} dimensions, limit {:.3f} rad",
                        recipe->coherence->layer, recipe->coherence->dims, recipe->judge->limit);
  }
  return line;
}

}  // namespace fieldprint::app
