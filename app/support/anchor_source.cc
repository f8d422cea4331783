#include "app/support/anchor_source.h"

#include <fmt/format.h>

#include <filesystem>

#include "anchor/compile.h"
#include "app/support/paths.h"
#include "app/support/trust.h"
#include "core/check.h"
#include "core/log.h"
#include "crypto/sha256.h"
#include "engine/anchor_supervision.h"

namespace fieldprint::app {
namespace {

constexpr std::size_t kKeyDigits = 16;  // of each digest in a folder's name

// Everything that decides the compiled rows, so that a change never meets a stale folder.
std::string cached_folder(const Settings& settings, const ModelStack& stack, const Runner& runner,
                          const std::string& text) {
  const std::string model = stack.digest.substr(std::string("sha256:").size(), kKeyDigits);
  Sha256 hash;
  hash.update(text).update("\n").update(runner.numeric_profile());
  hash.update("\n").update(stack.chat ? stack.chat->name() : "raw");
  const std::string key =
      digest_string(hash.finish()).substr(std::string("sha256:").size(), kKeyDigits);
  return fmt::format("{}/anchors/{}-{}", state_dir(settings), model, key);
}

Result<ChosenAnchor> compile_or_reuse(const Settings& settings, const ModelStack& stack,
                                      Runner& runner) {
  const std::string& file = settings.text("anchor-text");
  FP_ASSIGN(const std::string text, read_text_file(file, kMaxAnchorTextBytes));
  ChosenAnchor chosen;
  chosen.folder = cached_folder(settings, stack, runner, text);
  std::error_code error;
  if (std::filesystem::exists(chosen.folder, error)) {
    FP_ASSIGN(AnchorArtifact anchor, load_anchor(chosen.folder));
    chosen.binding.artifact = std::make_shared<const AnchorArtifact>(std::move(anchor));
    return chosen;
  }
  AnchorCompileOptions options;
  options.name = std::filesystem::path(file).stem().string();
  options.wrap = stack.chat ? "system" : "raw";
  options.model_digest = stack.digest;
  FP_ASSIGN(
      AnchorArtifact anchor,
      compile_anchor(runner, *stack.tokenizer, stack.chat ? &*stack.chat : nullptr, text, options));
  FP_TRY(make_folder(std::filesystem::path(chosen.folder).parent_path().string()));
  FP_TRY(save_anchor(anchor, chosen.folder));
  chosen.binding.artifact = std::make_shared<const AnchorArtifact>(std::move(anchor));
  chosen.compiled = true;
  return chosen;
}

// The folder that --anchor names: with every right, or, asked for in so many words, without.
Result<ChosenAnchor> load_named(const Settings& settings, const ModelStack& stack,
                                AnchorRegistry* registry) {
  ChosenAnchor chosen;
  const TrustFolder trust{trust_dir(settings), {}, {}};
  FP_ASSIGN(chosen.folder, find_anchor(trust, settings.text("anchor")));
  if (settings.flag("insecure-anchors")) {
    FP_ASSIGN(AnchorArtifact anchor, load_anchor(chosen.folder));
    chosen.binding.artifact = std::make_shared<const AnchorArtifact>(std::move(anchor));
    return chosen;
  }
  FP_CHECK(registry != nullptr);  // check_anchor_settings
  FP_ASSIGN(PromotedAnchor promoted,
            registry->load(chosen.folder, {settings.text("tenant"), stack.digest}));
  chosen.binding.artifact = promoted.artifact;
  chosen.promoted = std::move(promoted);
  return chosen;
}

AnchorMode mode_of(const std::string& name) {
  if (name == "gated") return AnchorMode::kGated;
  if (name == "floored") return AnchorMode::kFloored;
  FP_CHECK(name == "joint");
  return AnchorMode::kJoint;
}

}  // namespace

Status check_anchor_settings(const Settings& settings) {
  if (settings.flag("no-anchor")) return {};
  const bool folder = !settings.text("anchor").empty();
  const bool text = !settings.text("anchor-text").empty();
  if (folder && text)
    return fail(ErrorKind::kInvalid, "option_conflict",
                "--anchor and --anchor-text name two identities; keep one", "anchor-text");
  if (settings.flag("insecure-anchors")) return {};
  if (text)
    return fail(ErrorKind::kForbidden, "anchor_unsigned",
                "--anchor-text compiles an anchor that nobody signed or promoted; "
                "--insecure-anchors serves it all the same (development)",
                "anchor-text");
  if (folder && !has_trust(settings))
    return fail(ErrorKind::kForbidden, "trust_missing",
                fmt::format("there is no trust root in {}, so nothing can vouch for the anchor: "
                            "'fieldprint anchor init' makes one, --trust-dir names another, "
                            "--insecure-anchors serves it all the same (development)",
                            trust_dir(settings)),
                "anchor");
  return {};
}

Result<ChosenAnchor> choose_anchor(const Settings& settings, const ModelStack& stack,
                                   Runner& runner, AnchorRegistry* registry) {
  ChosenAnchor chosen;
  if (settings.flag("no-anchor")) return chosen;
  if (!settings.text("anchor-text").empty()) {
    FP_ASSIGN(chosen, compile_or_reuse(settings, stack, runner));
  } else if (!settings.text("anchor").empty()) {
    FP_ASSIGN(chosen, load_named(settings, stack, registry));
  } else {
    return chosen;
  }
  const AnchorArtifact& anchor = *chosen.binding.artifact;
  if (anchor.model_digest != stack.digest)
    return fail(ErrorKind::kInvalid, "anchor_model_mismatch",
                fmt::format("{} was compiled for model {}, this one is {}; compile it again",
                            chosen.folder, anchor.model_digest, stack.digest),
                "anchor");
  FP_ASSIGN(chosen.binding.supervision, supervision_of(anchor, stack.model->config));
  chosen.binding.mode = mode_of(settings.text("anchor-mode"));
  chosen.binding.gamma = static_cast<float>(settings.number("gamma"));
  chosen.binding.psi = static_cast<float>(settings.number("psi"));
  chosen.binding.beta_policy = static_cast<float>(settings.number("beta"));
  return chosen;
}

}  // namespace fieldprint::app
