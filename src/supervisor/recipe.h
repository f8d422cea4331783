// What supervision needs to know about one anchor on one model, frozen before the anchor is signed
// and named in its anchor.json: file `supervision.json` of the anchor's folder.
// Format, grammar and test vectors: docs/formats/supervision.md.
//
// Thread rule: recipes are plain values; a SupervisionModel is immutable, any thread may use it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/error.h"
#include "crypto/sha256.h"
#include "supervisor/coherence.h"
#include "supervisor/detector.h"
#include "supervisor/fingerprint.h"
#include "supervisor/verify.h"

namespace fieldprint {

inline constexpr const char* kSupervisionFileName = "supervision.json";
inline constexpr std::size_t kSupervisionMaxBytes = std::size_t{96} << 20;

// When a segment's angle is a breach. Two alarms, each with its own stated bound per segment while
// healthy: the e-detector (1/alpha segments between false alarms at least, given the mean bound),
// and a limit for one segment alone (false with probability <= limit_alpha if the segment is
// exchangeable with the calibration's: k-th largest of n gives k/(n+1)).
struct CoherenceJudge {
  AngleScore map;             // angle -> score of the e-detector
  double mean_bound = 0;      // m0
  double alpha = 0;           // of the e-detector
  double limit = 0;           // radians; an angle at or above it is a breach by itself
  double limit_alpha = 0;     // its stated false-alarm rate per segment
  std::int64_t sessions = 0;  // in the calibration
  std::int64_t segments = 0;
};

struct SupervisionRecipe {
  FingerprintRecipe fingerprint;
  // Both or none: without them there are fingerprints and no angle.
  std::optional<CoherenceRecipe> coherence;
  std::optional<CoherenceJudge> judge;
  std::optional<FingerprintTolerance> tolerance;  // for verifiers on other machines
};

// Limits, and that the parts fit together. Errors: supervision_recipe_invalid.
Status check_supervision_recipe(const SupervisionRecipe& recipe);

// Canonical JSON. The recipe must be valid. Doubles are rounded to billionths: keep what parsing
// the text gives, not what was printed.
std::string print_supervision_recipe(const SupervisionRecipe& recipe);
// Takes outside bytes, canonical text only. Fuzz entry point. Errors: supervision_recipe_invalid.
Result<SupervisionRecipe> parse_supervision_recipe(std::string_view text);

// A recipe made ready to compute with.
class SupervisionModel {
 public:
  // hidden: the loaded model's; layers: its number of blocks. Errors: supervision_recipe_invalid,
  // supervision_model_mismatch (hidden or layer does not fit), those of Fingerprinter and
  // Coherence.
  static Result<std::shared_ptr<const SupervisionModel>> create(SupervisionRecipe recipe,
                                                                std::int32_t hidden,
                                                                std::int32_t layers);

  const SupervisionRecipe& recipe() const { return recipe_; }
  const Digest256& digest() const { return digest_; }  // SHA-256 of the printed recipe
  const Fingerprinter& fingerprinter() const { return *fingerprinter_; }
  const Coherence* coherence() const { return coherence_ ? &*coherence_ : nullptr; }
  const DetectorSettings& detector() const { return detector_; }  // read with coherence() only

 private:
  SupervisionModel() = default;

  SupervisionRecipe recipe_;
  Digest256 digest_{};
  std::optional<Fingerprinter> fingerprinter_;
  std::optional<Coherence> coherence_;
  DetectorSettings detector_;
};

}  // namespace fieldprint
