#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "anchor/compile.h"
#include "app/commands/commands.h"
#include "app/support/anchor_source.h"
#include "app/support/model_stack.h"
#include "app/support/paths.h"

namespace fieldprint::app {
namespace {

constexpr std::int64_t kTemplateTokens = 1024;

Result<std::string> identity_text(const Settings& settings) {
  const std::string& file = settings.text("text");
  const bool from_stdin = settings.flag("stdin");
  if (file.empty() != from_stdin)
    return fail(ErrorKind::kInvalid, from_stdin ? "option_conflict" : "missing_argument",
                from_stdin ? "--text and --stdin exclude each other"
                           : "the identity text comes from --text FILE or --stdin",
                "text");
  if (from_stdin) return read_stdin(kMaxAnchorTextBytes);
  return read_text_file(file, kMaxAnchorTextBytes);
}

std::string default_name(const Settings& settings) {
  if (!settings.text("name").empty()) return settings.text("name");
  std::filesystem::path out(settings.text("out"));
  if (!out.has_filename()) out = out.parent_path();  // "keeper/"
  return out.filename().string();
}

}  // namespace

Result<int> cmd_anchor_compile(const CommandInput& input) {
  const Settings& settings = input.settings;
  FP_ASSIGN(const std::string text, identity_text(settings));
  if (settings.text("out").empty())
    return fail(ErrorKind::kInvalid, "missing_argument", "-o DIR says where the anchor goes",
                "out");
  FP_ASSIGN(const ModelStack stack, open_model(settings));
  RunnerSize size;
  size.threads = static_cast<int>(settings.integer("threads"));
  size.max_step_tokens = static_cast<std::int32_t>(settings.integer("prefill-chunk"));
  // A token stands for at least one byte of the text; the template's own come on top.
  size.kv_tokens = std::min<std::int64_t>(stack.model->config.context_train,
                                          static_cast<std::int64_t>(text.size())) +
                   kTemplateTokens;
  FP_ASSIGN(const std::unique_ptr<Runner> runner, make_runner(settings, stack, size, {}));
  AnchorCompileOptions options;
  options.name = default_name(settings);
  options.wrap = settings.text("wrap");
  options.model_digest = stack.digest;
  FP_ASSIGN(AnchorArtifact anchor,
            compile_anchor(*runner, *stack.tokenizer, stack.chat ? &*stack.chat : nullptr, text,
                           options));
  FP_TRY(save_anchor(anchor, settings.text("out")));
  if (settings.flag("json")) {
    const nlohmann::ordered_json json = {{"name", anchor.name},
                                         {"digest", anchor.digest},
                                         {"tokens", anchor.length()},
                                         {"model_digest", anchor.model_digest},
                                         {"folder", settings.text("out")}};
    fmt::print("{}\n", json.dump());
    return 0;
  }
  fmt::print("anchor '{}' compiled: {} tokens, {}\nwritten to {}, unsigned (development)\n",
             anchor.name, anchor.length(), anchor.digest, settings.text("out"));
  return 0;
}

}  // namespace fieldprint::app
