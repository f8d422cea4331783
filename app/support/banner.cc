#include "app/support/banner.h"

#include <fmt/format.h>

#include "app/support/anchor_source.h"
#include "app/support/authority.h"
#include "app/support/build_info.h"
#include "app/support/format.h"

namespace fieldprint::app {
namespace {

std::string anchor_line(const EngineStack& stack) {
  const AnchorArtifact* anchor = stack.anchor.artifact.get();
  if (anchor == nullptr) return "none";
  const std::string what =
      fmt::format("'{}' {}, {} tokens, {}, {} {}", anchor->name, short_digest(anchor->digest),
                  anchor->length(), anchor_mode_name(stack.anchor.mode),
                  stack.anchor_compiled ? "compiled now to" : "from", stack.anchor_source);
  if (!stack.promoted)
    return fmt::format(
        "UNSIGNED (development): {}\n"
        "            !! --insecure-anchors: nobody vouched for this identity",
        what);
  const AnchorAuthority& authority = stack.promoted->authority;
  return fmt::format("promoted: {}\n            by {} until {}, ledger entry {}, policy epoch {}",
                     what, fmt::join(authority.promoted_by, ", "), time_text(authority.not_after),
                     authority.promotion_index, authority.policy_epoch);
}

std::string supervisor_line(const Settings& settings, const EngineStack& stack) {
  const SupervisionInfo can = stack.engine->supervision();
  if (!stack.anchor.artifact) return "off (no anchor to drift from)";
  if (!can.fingerprints)
    return "off (the anchor has no recipe; 'fieldprint anchor calibrate' makes one)";
  return fmt::format("release {}, {}, recipe {}", settings.text("release"),
                     can.coherence ? "fingerprints and angles" : "fingerprints only",
                     short_digest(digest_string(can.recipe)));
}

std::string context_line(const EngineStack& stack) {
  const std::int32_t context = stack.engine->options().context_length;
  return fmt::format("{} tokens{}", context,
                     stack.budget.context_lowered
                         ? fmt::format(" (lowered from the model's {}: memory)",
                                       stack.model.model->config.context_train)
                         : "");
}

}  // namespace

std::string banner(const Settings& settings, const EngineStack& stack,
                   const std::vector<std::string>& addresses) {
  const Model& model = *stack.model.model;
  const std::int32_t pages = stack.engine->stats().pages_total;
  const std::int64_t tokens = std::int64_t{pages} * kPageRows;
  const std::int64_t kv_bytes =
      tokens * kv_bytes_per_token(model.config, settings.text("kv-dtype"));
  std::string out = fmt::format("fieldprint  {}\n", version_string());
  out += fmt::format("model       {} ({}, {} parameters)\n",
                     model.config.name.empty() ? stack.model.path : model.config.name,
                     model.config.architecture, human_count(model.parameters));
  out += fmt::format("weights     {}, {} in {}\n", model.quantization,
                     human_bytes(model.weight_bytes), stack.model.path);
  out += fmt::format("digest      {}\n", stack.model.digest);
  out += fmt::format("device      {}\n", stack.engine->device_name());
  out += fmt::format("profile     {}\n", stack.engine->numeric_profile());
  out += fmt::format("context     {}\n", context_line(stack));
  out += fmt::format("kv cache    {} pages, {} tokens, {}, {}\n", pages, tokens,
                     settings.text("kv-dtype"), human_bytes(static_cast<std::uint64_t>(kv_bytes)));
  if (!addresses.empty())
    out += fmt::format("concurrency {} at once, {:.1f} at full context\n",
                       stack.engine->options().max_sequences,
                       static_cast<double>(tokens) / stack.engine->options().context_length);
  out += fmt::format("anchor      {}\n", anchor_line(stack));
  out += fmt::format("supervisor  {}\n", supervisor_line(settings, stack));
  for (const std::string& address : addresses) out += fmt::format("listening   {}\n", address);
  return out;
}

}  // namespace fieldprint::app
