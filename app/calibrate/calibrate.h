// Makes the supervision recipe of an anchor: which layer, which directions, which limits.
// docs/supervisor.md says how, and what the figures mean.
//
//   healthy dialogues, even ones   answered behind the anchor -> fit. The background: by turns the
//                                  same answers read under other identities or none, and answers
//                                  that were given under other identities
//   healthy dialogues, odd ones    answered behind the anchor -> limits; also answered under other
//                                  identities, which must be told apart
//   breaking dialogues             answered behind the anchor -> reported; nothing is fitted on
//   them
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "anchor/artifact.h"
#include "app/calibrate/dialogues.h"
#include "app/config/settings.h"
#include "app/support/model_stack.h"
#include "supervisor/calibration.h"
#include "supervisor/recipe.h"

namespace fieldprint::app {

inline constexpr std::size_t kMinHealthyDialogues = 24;

struct CalibrateOptions {
  double alpha = 1e-4;        // of the e-detector
  double limit_alpha = 0.01;  // wanted of the limit for one segment
  std::int32_t answer_tokens = 48;
  std::int32_t dims = 16;
  std::uint64_t seed = 1;
};

struct LayerTrial {
  std::int32_t layer = 0;
  double area = 0;      // under the ROC curve, on dialogues that were not fitted
  double distance = 0;  // between the groups' mean angles, in pooled standard deviations
};

struct AngleGroup {
  std::size_t dialogues = 0;  // with an angle
  std::vector<double> angles;
};

struct CalibrationOutcome {
  SupervisionRecipe recipe;  // as its document will read
  std::vector<LayerTrial> layers;
  AngleGroup healthy;   // held out
  AngleGroup other;     // the same questions, answered under other identities
  AngleGroup breaking;  // may be empty
  RocCurve other_roc;
  std::optional<RocCurve> breaking_roc;
  AngleLimit limit;
  double healthy_score = 0;  // mean; the recipe's mean_bound is its upper bound
};

// done, total: work so far, in texts answered or read.
using CalibrateProgress = std::function<void(std::size_t done, std::size_t total)>;

// Errors: dialogues_too_few, chat_template_missing, calibration_too_short (answers of too few
// tokens), those of the runner, the engine, fit_coherence, calibrate_detector and
// calibrate_fingerprints.
Result<CalibrationOutcome> calibrate(const Settings& settings, const ModelStack& model,
                                     const AnchorArtifact& anchor,
                                     const std::vector<Dialogue>& dialogues,
                                     const CalibrateOptions& options,
                                     const CalibrateProgress& progress);

// System texts that are someone else than any anchor is likely to be.
std::span<const char* const> other_identities();

}  // namespace fieldprint::app
