#include "engine/supervised.h"

#include <algorithm>

namespace fieldprint {
namespace {

constexpr float kMostPsi = 0.9F;
constexpr float kPsiStep = 0.2F;  // for an anchor that is floored already

std::uint64_t count_characters(const std::string& text) {
  return static_cast<std::uint64_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

}  // namespace

void TextSize::add(const TextPiece& piece) {
  bytes += piece.text.size();
  characters += count_characters(piece.text);
  logprobs += piece.logprobs.size();
}

void Supervised::boost(const AnchorView& view, std::size_t gammas,
                       const RollbackSettings& settings) {
  if (!boosted) {
    mode = view.mode;
    psi = view.psi;
    if (mode == AnchorMode::kGated) gamma.assign(view.gamma, view.gamma + gammas);
  }
  boosted = true;
  if (mode == AnchorMode::kGated) {
    for (float& g : gamma) g = std::min(1.0F, g + settings.gamma_step);
    return;
  }
  // Joint has no strength of its own to raise: a floor under its weight is the step.
  psi = mode == AnchorMode::kJoint ? settings.psi
                                   : std::max(settings.psi, std::min(kMostPsi, psi + kPsiStep));
  mode = AnchorMode::kFloored;
}

AnchorView Supervised::anchor(const AnchorView& view) const {
  if (!boosted) return view;
  AnchorView raised = view;
  raised.mode = mode;
  raised.psi = psi;
  if (mode == AnchorMode::kGated) raised.gamma = gamma.data();
  return raised;
}

}  // namespace fieldprint
