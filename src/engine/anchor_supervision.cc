#include "engine/anchor_supervision.h"

#include <utility>

#include "anchor/document.h"

namespace fieldprint {

// Whatever the anchor's format lets through, the recipe's parser gets to judge, and no less.
static_assert(kAnchorMaxSupervision == kSupervisionMaxBytes);

Result<std::shared_ptr<const SupervisionModel>> supervision_of(const AnchorArtifact& anchor,
                                                               const ModelConfig& config) {
  if (anchor.supervision.empty()) return std::shared_ptr<const SupervisionModel>();
  FP_ASSIGN(SupervisionRecipe recipe, parse_supervision_recipe(anchor.supervision));
  return SupervisionModel::create(std::move(recipe), config.hidden, config.layers);
}

}  // namespace fieldprint
