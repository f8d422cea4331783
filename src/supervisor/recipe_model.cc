// A recipe made ready to compute with. Its text is recipe.cc's business.
#include <utility>

#include "supervisor/recipe.h"

namespace fieldprint {
namespace {

tl::unexpected<Error> mismatch(const std::string& what) {
  return fail(ErrorKind::kInvalid, "supervision_model_mismatch",
              "supervision recipe: " + what +
                  "; it was made for another model: run fieldprint anchor calibrate with this one");
}

}  // namespace

Result<std::shared_ptr<const SupervisionModel>> SupervisionModel::create(SupervisionRecipe recipe,
                                                                         std::int32_t hidden,
                                                                         std::int32_t layers) {
  FP_TRY(check_supervision_recipe(recipe));
  if (recipe.fingerprint.hidden != hidden) {
    return mismatch("its states have " + std::to_string(recipe.fingerprint.hidden) +
                    " elements, the model's " + std::to_string(hidden));
  }
  auto model = std::shared_ptr<SupervisionModel>(new SupervisionModel());
  if (recipe.coherence) {
    const CoherenceRecipe& coherence = *recipe.coherence;
    if (coherence.hidden != hidden) {
      return mismatch("its layer states have " + std::to_string(coherence.hidden) +
                      " elements, the model's " + std::to_string(hidden));
    }
    if (coherence.layer < 0 || coherence.layer >= layers) {
      return mismatch("it listens to layer " + std::to_string(coherence.layer) +
                      ", the model has " + std::to_string(layers));
    }
    FP_ASSIGN(model->detector_,
              make_detector_settings(recipe.judge->mean_bound, recipe.judge->alpha));
    FP_ASSIGN(model->coherence_, Coherence::create(coherence));
  }
  FP_ASSIGN(model->fingerprinter_, Fingerprinter::create(recipe.fingerprint));
  model->digest_ = sha256(print_supervision_recipe(recipe));
  model->recipe_ = std::move(recipe);
  return model;
}

}  // namespace fieldprint
