// anchor show and anchor list: read compiled folders, no model needed.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "anchor/artifact.h"
#include "app/commands/commands.h"
#include "app/support/format.h"
#include "app/support/paths.h"
#include "app/support/supervision.h"
#include "app/support/trust.h"
#include "crypto/sha256.h"

namespace fieldprint::app {
namespace {

std::size_t row_bytes(const AnchorArtifact& anchor) {
  return (anchor.k.size() + anchor.v.size()) * sizeof(std::uint16_t);
}

nlohmann::ordered_json describe(const AnchorArtifact& anchor) {
  return {
      {"name", anchor.name},
      {"digest", anchor.digest},
      {"signed", false},
      {"model_digest", anchor.model_digest},
      {"tokens", anchor.length()},
      {"recipe",
       {{"method", anchor.recipe.method},
        {"wrap", anchor.recipe.wrap},
        {"chat_template", anchor.recipe.chat_template},
        {"numeric_profile", anchor.recipe.numeric_profile}}},
      {"layers", anchor.layers},
      {"kv_heads", anchor.kv_heads},
      {"head_dim", anchor.head_dim},
      {"row_bytes", row_bytes(anchor)},
      {"supervision", anchor.supervision.empty() ? "" : digest_string(sha256(anchor.supervision))},
      {"text", anchor.text}};
}

void print_json(const nlohmann::ordered_json& json) {
  fmt::print("{}\n", json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace

Result<int> cmd_anchor_show(const CommandInput& input) {
  if (input.positionals.empty())
    return fail(ErrorKind::kInvalid, "missing_argument", "'anchor show' needs the anchor's folder");
  FP_ASSIGN(const AnchorArtifact anchor, load_anchor(input.positionals[0]));
  if (input.settings.flag("json")) {
    print_json(describe(anchor));
    return 0;
  }
  fmt::print(
      "name        {}\ndigest      {}\nsigned      no (development)\nmodel       {}\n"
      "tokens      {}\nrecipe      {}, wrap {}, template {}, profile {}\n"
      "rows        {} layers x {} KV heads x {} dims, {}\nsupervision {}\ntext        {} "
      "bytes\n\n{}\n",
      anchor.name, anchor.digest, anchor.model_digest, anchor.length(), anchor.recipe.method,
      anchor.recipe.wrap,
      anchor.recipe.chat_template.empty() ? "none" : anchor.recipe.chat_template,
      anchor.recipe.numeric_profile, anchor.layers, anchor.kv_heads, anchor.head_dim,
      human_bytes(row_bytes(anchor)), supervision_line(anchor), anchor.text.size(), anchor.text);
  return 0;
}

Result<int> cmd_anchor_list(const CommandInput& input) {
  const std::string dir =
      input.positionals.empty() ? state_dir(input.settings) + "/anchors" : input.positionals[0];
  std::error_code error;
  if (!input.positionals.empty() && !std::filesystem::is_directory(dir, error))
    return fail(ErrorKind::kNotFound, "anchor_missing", dir + ": no such folder");
  nlohmann::ordered_json anchors = nlohmann::ordered_json::array();
  const bool json = input.settings.flag("json");
  const std::vector<std::string> folders = anchor_folders(dir);
  if (!json && folders.empty()) fmt::print("no anchor in {}\n", dir);
  for (const std::string& folder : folders) {
    const Result<AnchorArtifact> anchor = load_anchor(folder);
    nlohmann::ordered_json entry =
        anchor ? describe(*anchor) : nlohmann::ordered_json{{"error", anchor.error().code}};
    entry["folder"] = folder;
    entry.erase("text");
    if (!json && anchor)
      fmt::print("{:<20} {} {:>5} tokens  model {}  {}\n", anchor->name,
                 short_digest(anchor->digest), anchor->length(), short_digest(anchor->model_digest),
                 folder);
    if (!json && !anchor) fmt::print("{:<20} {}  {}\n", "?", anchor.error().code, folder);
    anchors.push_back(std::move(entry));
  }
  if (json) print_json({{"folder", dir}, {"anchors", std::move(anchors)}});
  return 0;
}

}  // namespace fieldprint::app
