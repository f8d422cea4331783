#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "app/commands/commands.h"
#include "app/support/model_file.h"
#include "app/support/paths.h"
#include "model/tokenizer.h"

namespace fieldprint::app {
namespace {

constexpr std::size_t kMaxTextBytes = std::size_t{64} << 20;

// One line per token must stay one line: control bytes and broken UTF-8 are escaped.
std::string printable(const std::string& piece) {
  const std::string quoted =
      nlohmann::json(piece).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return quoted.substr(1, quoted.size() - 2);
}

}  // namespace

Result<int> cmd_tokenize(const CommandInput& input) {
  const Settings& settings = input.settings;
  FP_ASSIGN(const std::string path, choose_model(settings));
  FP_ASSIGN(const std::unique_ptr<Tokenizer> tokenizer, Tokenizer::load(path));
  std::string text;
  if (input.positionals.empty() || input.positionals[0] == "-") {
    FP_ASSIGN(text, read_stdin(kMaxTextBytes));
  } else {
    text = input.positionals[0];
  }
  const std::vector<TokenId> tokens = tokenizer->encode(text, settings.flag("special"));
  if (settings.flag("count")) {
    fmt::print("{}\n", tokens.size());
    return 0;
  }
  if (settings.flag("json")) {
    nlohmann::ordered_json pieces = nlohmann::ordered_json::array();
    for (const TokenId token : tokens) pieces.push_back(tokenizer->decode(token, true));
    const nlohmann::ordered_json json = {
        {"count", tokens.size()}, {"tokens", tokens}, {"pieces", std::move(pieces)}};
    fmt::print("{}\n", json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    return 0;
  }
  for (const TokenId token : tokens)
    fmt::print("{}\t{}\n", token, printable(tokenizer->decode(token, true)));
  return 0;
}

}  // namespace fieldprint::app
