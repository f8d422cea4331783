// From an anchor's supervision recipe to what the engine's workers compute with.
//
// Thread rule: a pure function.
#pragma once

#include <memory>

#include "anchor/artifact.h"
#include "core/error.h"
#include "model/config.h"
#include "supervisor/recipe.h"

namespace fieldprint {

// AnchorBinding::supervision of this anchor on this model; null where the anchor has no recipe.
// Errors: those of parse_supervision_recipe and SupervisionModel::create.
Result<std::shared_ptr<const SupervisionModel>> supervision_of(const AnchorArtifact& anchor,
                                                               const ModelConfig& config);

}  // namespace fieldprint
