#include "app/calibrate/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

namespace fieldprint::app {
namespace {

constexpr double kSide = 320;  // of each panel
constexpr double kTop = 50;
constexpr double kLeft = 60;
constexpr double kRight = 510;
constexpr std::size_t kBins = 32;
constexpr const char* kHealthy = "#2b6cb0";
constexpr const char* kOther = "#c53030";
constexpr const char* kBreaking = "#b7791f";

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '&')
      out += "&amp;";
    else
      out += c;
  }
  return out;
}

std::string label(double x, double y, const char* anchor, const std::string& text) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor,
                     escaped(text));
}

std::string frame(double left) {
  return fmt::format(
      "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"none\" "
      "stroke=\"#888\"/>\n",
      left, kTop, kSide, kSide);
}

std::string curve(const RocCurve& roc, const char* color) {
  std::string points;
  for (const RocPoint& point : roc.points) {
    points += fmt::format("{:.1f},{:.1f} ", kLeft + kSide * point.false_rate,
                          kTop + kSide * (1 - point.true_rate));
  }
  return fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>\n",
                     points, color);
}

std::string roc_panel(const CalibrationOutcome& outcome) {
  std::string svg = frame(kLeft);
  svg += fmt::format(
      "<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{2:.1f}\" y2=\"{3:.1f}\" stroke=\"#ccc\"/>\n",
      kLeft, kTop + kSide, kLeft + kSide, kTop);
  svg += curve(outcome.other_roc, kOther);
  if (outcome.breaking_roc) svg += curve(*outcome.breaking_roc, kBreaking);
  svg += label(kLeft + kSide / 2, kTop + kSide + 32, "middle", "false alarms, share of segments");
  svg += label(kLeft - 8, kTop + 10, "end", "1");
  svg += label(kLeft - 8, kTop + kSide, "end", "0");
  svg += label(kLeft + kSide, kTop + kSide + 16, "middle", "1");
  svg += label(kLeft + 4, kTop - 8, "start", "detected, share of segments");
  return svg;
}

std::string histogram(const std::vector<double>& angles, const char* color) {
  std::array<double, kBins> counts{};
  for (const double angle : angles) {
    const double at = std::isnan(angle) ? 1 : angle / std::numbers::pi;
    const auto bin = static_cast<std::size_t>(at * kBins);
    counts[std::min(bin, kBins - 1)] += 1;
  }
  const double most = *std::ranges::max_element(counts);
  std::string points;
  for (std::size_t i = 0; i < kBins && most > 0; ++i) {
    const double y = kTop + kSide - kSide * 0.9 * counts[i] / most;
    points +=
        fmt::format("{:.1f},{:.1f} {:.1f},{:.1f} ", kRight + kSide * static_cast<double>(i) / kBins,
                    y, kRight + kSide * static_cast<double>(i + 1) / kBins, y);
  }
  return fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>\n",
                     points, color);
}

std::string angle_panel(const CalibrationOutcome& outcome) {
  std::string svg = frame(kRight);
  svg += histogram(outcome.healthy.angles, kHealthy);
  svg += histogram(outcome.other.angles, kOther);
  if (!outcome.breaking.angles.empty()) svg += histogram(outcome.breaking.angles, kBreaking);
  const double x = kRight + kSide * outcome.limit.limit / std::numbers::pi;
  svg += fmt::format(
      "<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{0:.1f}\" y2=\"{2:.1f}\" stroke=\"#222\" "
      "stroke-dasharray=\"4 3\"/>\n",
      x, kTop, kTop + kSide);
  svg += label(x + 4, kTop + 12, "start", fmt::format("limit {:.2f}", outcome.limit.limit));
  svg += label(kRight + kSide / 2, kTop + kSide + 32, "middle", "angle to the anchor, radians");
  svg += label(kRight, kTop + kSide + 16, "middle", "0");
  svg += label(kRight + kSide, kTop + kSide + 16, "middle", "pi");
  return svg;
}

std::string legend(double y, const char* color, const std::string& text) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" fill=\"{}\">{}</text>\n", kLeft + 110, y,
                     color, escaped(text));
}

}  // namespace

std::string calibration_svg(const CalibrationOutcome& outcome, const std::string& title) {
  std::string svg =
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"900\" height=\"430\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n"
      "<rect width=\"900\" height=\"430\" fill=\"white\"/>\n";
  svg += label(450, 22, "middle", title);
  svg += roc_panel(outcome) + angle_panel(outcome);
  const double y = kTop + kSide - 70;
  svg += legend(y, kHealthy, fmt::format("healthy, {} segments", outcome.healthy.angles.size()));
  svg += legend(y + 18, kOther, fmt::format("other identity, AUC {:.3f}", outcome.other_roc.area));
  if (outcome.breaking_roc) {
    svg += legend(y + 36, kBreaking,
                  fmt::format("breaking dialogues, AUC {:.3f}", outcome.breaking_roc->area));
  }
  return svg + "</svg>\n";
}

}  // namespace fieldprint::app
