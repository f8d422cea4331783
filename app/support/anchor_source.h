// Which anchor a command serves: a compiled folder, or a text compiled on first use.
#pragma once

#include <optional>
#include <string>

#include "anchor/registry.h"
#include "app/config/settings.h"
#include "app/support/model_stack.h"

namespace fieldprint::app {

inline constexpr std::size_t kMaxAnchorTextBytes = std::size_t{1} << 20;

struct ChosenAnchor {
  AnchorBinding binding;  // no artifact: none is wanted
  std::string folder;
  bool compiled = false;                   // just now, by this process
  std::optional<PromotedAnchor> promoted;  // absent: --insecure-anchors, or no anchor
};

// The checks that need no model. Errors: option_conflict (--anchor with --anchor-text),
// anchor_unsigned (--anchor-text without --insecure-anchors), trust_missing (--anchor without
// a trust root and without --insecure-anchors).
Status check_anchor_settings(const Settings& settings);

// Loads or compiles the anchor that the settings name. registry: null with --insecure-anchors
// or without an anchor; else the anchor loads through it, with its errors. Compiling uses the
// runner's pages; they are free again afterwards. Compiled texts are kept in
// <state_dir>/anchors/<model digest>-<text digest>. Errors: those of load_anchor,
// compile_anchor, save_anchor and supervision_of; anchor_model_mismatch.
Result<ChosenAnchor> choose_anchor(const Settings& settings, const ModelStack& stack,
                                   Runner& runner, AnchorRegistry* registry);

}  // namespace fieldprint::app
