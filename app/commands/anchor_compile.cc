#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "anchor/compile.h"
#include "app/commands/commands.h"
#include "app/support/anchor_source.h"
#include "app/support/model_stack.h"
#include "app/support/paths.h"
#include "app/support/trust.h"

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

std::string default_name(const Settings& settings, const std::string& out_folder) {
  if (!settings.text("name").empty()) return settings.text("name");
  std::filesystem::path out(out_folder);
  if (!out.has_filename()) out = out.parent_path();  // "keeper/"
  return out.filename().string();
}

// Where the anchor goes: -o, else a folder in the trust folder named after name or text.
Result<std::string> out_folder(const Settings& settings) {
  if (!settings.text("out").empty()) return settings.text("out");
  if (!has_trust(settings))
    return fail(ErrorKind::kInvalid, "missing_argument",
                "-o DIR says where the anchor goes; without it a trust folder is needed, which "
                "'fieldprint anchor init' makes",
                "out");
  std::string name = settings.text("name");
  if (name.empty()) name = std::filesystem::path(settings.text("text")).stem().string();
  if (name.empty() || name.find('/') != std::string::npos || name.front() == '.')
    return fail(ErrorKind::kInvalid, "anchor_name_invalid",
                "--name must be a plain file name here; or use -o DIR", "name");
  return trust_dir(settings) + "/anchors/" + name;
}

}  // namespace

Result<int> cmd_anchor_compile(const CommandInput& input) {
  const Settings& settings = input.settings;
  FP_ASSIGN(const std::string text, identity_text(settings));
  FP_ASSIGN(const std::string folder, out_folder(settings));
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
  options.name = default_name(settings, folder);
  options.wrap = settings.text("wrap");
  options.model_digest = stack.digest;
  FP_ASSIGN(AnchorArtifact anchor,
            compile_anchor(*runner, *stack.tokenizer, stack.chat ? &*stack.chat : nullptr, text,
                           options));
  FP_TRY(save_anchor(anchor, folder));
  if (settings.flag("json")) {
    const nlohmann::ordered_json json = {{"name", anchor.name},
                                         {"digest", anchor.digest},
                                         {"tokens", anchor.length()},
                                         {"model_digest", anchor.model_digest},
                                         {"folder", folder}};
    fmt::print("{}\n", json.dump());
    return 0;
  }
  fmt::print("anchor '{}' compiled: {} tokens, {}\nwritten to {}, not signed yet\n", anchor.name,
             anchor.length(), anchor.digest, folder);
  if (has_trust(settings))
    fmt::print(
        "next:  fieldprint anchor calibrate {0}\n       fieldprint anchor sign {0}\n",
        settings.text("out").empty() ? std::filesystem::path(folder).filename().string() : folder);
  return 0;
}

}  // namespace fieldprint::app
