// What every runner asks of a step. Pure functions.
#pragma once

#include <cstdint>
#include <string>

#include "core/check.h"
#include "core/error.h"
#include "runner/runner.h"

namespace fieldprint {

// Output rows of one sequence: what its `logits` selects.
inline std::int32_t output_rows_of(const SequenceStep& step) {
  switch (step.logits) {
    case LogitsWanted::kNone:
      return 0;
    case LogitsWanted::kLast:
    case LogitsWanted::kBest:
      return 1;
    case LogitsWanted::kAll:
      return static_cast<std::int32_t>(step.tokens.size());
  }
  FP_UNREACHABLE();
}

// Errors: tap_layer_out_of_range (a layer is tapped that a model of `layers` layers lacks).
inline Status check_tap_layer(const SequenceStep& step, std::int32_t layers) {
  if (step.tap != TapWanted::kFinalAndLayer) return {};
  if (step.tap_layer >= 0 && step.tap_layer < layers) return {};
  return fail(ErrorKind::kInvalid, "tap_layer_out_of_range",
              "no layer " + std::to_string(step.tap_layer) + " to tap; this model has 0.." +
                  std::to_string(layers - 1));
}

}  // namespace fieldprint
