#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "app/commands/commands.h"
#include "app/support/format.h"
#include "app/support/paths.h"
#include "model/config.h"
#include "model/gguf.h"
#include "model/model.h"

namespace fieldprint::app {
namespace {

constexpr std::size_t kMaxListed = 1000;  // files per folder

struct ModelRow {
  std::string path;
  std::uint64_t bytes = 0;
  std::string architecture;
  std::int64_t context = 0;
  bool chat_template = false;
  std::string error;  // code, when the file cannot be used
};

ModelRow describe(const std::string& path) {
  ModelRow row;
  row.path = path;
  std::error_code ignored;
  row.bytes = std::filesystem::file_size(path, ignored);
  const Result<std::unique_ptr<GgufFile>> file = GgufFile::open(path);
  if (!file) {
    row.error = file.error().code;
    return row;
  }
  row.architecture = (*file)->text("general.architecture").value_or("");
  row.chat_template = (*file)->has("tokenizer.chat_template");
  const Result<ModelConfig> config = read_config(**file);
  if (config)
    row.context = config->context_train;
  else
    row.error = config.error().code;
  return row;
}

std::vector<std::string> gguf_files(const std::string& dir) {
  std::vector<std::string> files;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(dir, error)) {
    std::error_code ignored;
    if (entry.path().extension() == ".gguf" && entry.is_regular_file(ignored))
      files.push_back(entry.path().string());
    if (files.size() >= kMaxListed) break;
  }
  std::sort(files.begin(), files.end());
  return files;
}

void print_table(const std::vector<ModelRow>& rows, const std::vector<std::string>& dirs) {
  if (rows.empty()) fmt::print("no .gguf file in {}\n", fmt::join(dirs, ", "));
  for (const ModelRow& row : rows) {
    const std::string status = row.error.empty() ? row.chat_template ? "chat" : "base" : row.error;
    fmt::print("{:<12} {:>10} {:>8} {:<6} {}\n", row.architecture.empty() ? "?" : row.architecture,
               human_bytes(row.bytes), row.context == 0 ? "?" : std::to_string(row.context), status,
               row.path);
  }
}

}  // namespace

Result<int> cmd_models(const CommandInput& input) {
  route_ggml_log();
  const std::vector<std::string> dirs = model_dirs(input.settings);
  std::vector<ModelRow> rows;
  for (const std::string& dir : dirs)
    for (const std::string& path : gguf_files(dir)) rows.push_back(describe(path));
  if (!input.settings.flag("json")) {
    print_table(rows, dirs);
    return 0;
  }
  nlohmann::ordered_json models = nlohmann::ordered_json::array();
  for (const ModelRow& row : rows)
    models.push_back({{"path", row.path},
                      {"bytes", row.bytes},
                      {"architecture", row.architecture},
                      {"context_length", row.context},
                      {"chat_template", row.chat_template},
                      {"error", row.error.empty() ? nlohmann::ordered_json()
                                                  : nlohmann::ordered_json(row.error)}});
  const nlohmann::ordered_json json = {{"folders", dirs}, {"models", std::move(models)}};
  fmt::print("{}\n", json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  return 0;
}

}  // namespace fieldprint::app
