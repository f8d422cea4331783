// The calibration as a picture: ROC curves on the left, angles of each group on the right.
#pragma once

#include <string>

#include "app/calibrate/calibrate.h"

namespace fieldprint::app {

// A whole SVG document, 900 x 430.
std::string calibration_svg(const CalibrationOutcome& outcome, const std::string& title);

}  // namespace fieldprint::app
