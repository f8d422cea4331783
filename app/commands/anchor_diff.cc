// anchor diff: what changed between two anchors. Says nothing about their signatures.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "anchor/artifact.h"
#include "app/commands/commands.h"
#include "app/support/format.h"
#include "app/support/supervision.h"
#include "app/support/trust.h"
#include "attention/bf16.h"

namespace fieldprint::app {
namespace {

using Lines = std::vector<std::string>;
constexpr std::size_t kMaxLines = 4000;  // the table below has their square

Lines lines_of(const std::string& text) {
  Lines lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

// Longest common subsequence; lines with "- ", "+ " or "  " in front.
Lines line_diff(const Lines& a, const Lines& b) {
  std::vector<std::vector<std::uint16_t>> common(a.size() + 1,
                                                 std::vector<std::uint16_t>(b.size() + 1, 0));
  for (std::size_t i = a.size(); i-- > 0;) {
    for (std::size_t j = b.size(); j-- > 0;) {
      common[i][j] = a[i] == b[j] ? static_cast<std::uint16_t>(common[i + 1][j + 1] + 1)
                                  : std::max(common[i + 1][j], common[i][j + 1]);
    }
  }
  Lines out;
  std::size_t i = 0;
  std::size_t j = 0;
  while (i < a.size() || j < b.size()) {
    if (i < a.size() && j < b.size() && a[i] == b[j]) {
      out.push_back("  " + a[i++]);
      ++j;
    } else if (j == b.size() || (i < a.size() && common[i + 1][j] >= common[i][j + 1])) {
      out.push_back("- " + a[i++]);
    } else {
      out.push_back("+ " + b[j++]);
    }
  }
  return out;
}

// Largest |difference| of the keys and values; NaN if the shapes differ.
double rows_distance(const AnchorArtifact& a, const AnchorArtifact& b) {
  if (a.k.size() != b.k.size() || a.v.size() != b.v.size()) return std::nan("");
  double most = 0;
  const auto compare = [&](const std::vector<std::uint16_t>& x,
                           const std::vector<std::uint16_t>& y) {
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double difference = double{float_from_bf16(x[i])} - double{float_from_bf16(y[i])};
      most = std::max(most, std::abs(difference));
    }
  };
  compare(a.k, b.k);
  compare(a.v, b.v);
  return most;
}

struct Field {
  const char* name;
  std::string a;
  std::string b;
};

std::vector<Field> fields_of(const AnchorArtifact& a, const AnchorArtifact& b) {
  return {{"digest", a.digest, b.digest},
          {"name", a.name, b.name},
          {"model", a.model_digest, b.model_digest},
          {"method", a.recipe.method, b.recipe.method},
          {"wrap", a.recipe.wrap, b.recipe.wrap},
          {"template", a.recipe.chat_template, b.recipe.chat_template},
          {"profile", a.recipe.numeric_profile, b.recipe.numeric_profile},
          {"supervision", supervision_line(a), supervision_line(b)},
          {"tokens", std::to_string(a.length()), std::to_string(b.length())},
          {"shape", fmt::format("{}x{}x{}", a.layers, a.kv_heads, a.head_dim),
           fmt::format("{}x{}x{}", b.layers, b.kv_heads, b.head_dim)}};
}

std::size_t common_tokens(const AnchorArtifact& a, const AnchorArtifact& b) {
  const auto ends = std::ranges::mismatch(a.tokens, b.tokens);
  return static_cast<std::size_t>(ends.in1 - a.tokens.begin());
}

void print_text(const AnchorArtifact& a, const AnchorArtifact& b, const Lines& diff) {
  for (const Field& field : fields_of(a, b)) {
    if (field.a == field.b) continue;
    fmt::print("{:<11} {} -> {}\n", field.name, field.a, field.b);
  }
  const double distance = rows_distance(a, b);
  fmt::print("rows        {}\n", std::isnan(distance)
                                     ? std::string("of different shape")
                                     : fmt::format("largest difference {:g}", distance));
  fmt::print("tokens      the first {} are the same\n", common_tokens(a, b));
  if (a.text == b.text) {
    fmt::print("text        the same\n");
    return;
  }
  fmt::print("text\n");
  for (const std::string& line : diff) fmt::print("{}\n", line);
}

}  // namespace

Result<int> cmd_anchor_diff(const CommandInput& input) {
  if (input.positionals.size() != 2) {
    return fail(ErrorKind::kInvalid, "missing_argument", "'anchor diff' compares two anchors");
  }
  AnchorArtifact anchors[2];
  for (std::size_t i = 0; i < 2; ++i) {
    // Two folders can be compared without a trust root.
    const TrustFolder trust{trust_dir(input.settings), {}, {}};
    FP_ASSIGN(const std::string folder, find_anchor(trust, input.positionals[i]));
    FP_ASSIGN(anchors[i], load_anchor(folder));
  }
  const AnchorArtifact& a = anchors[0];
  const AnchorArtifact& b = anchors[1];
  const Lines before = lines_of(a.text);
  const Lines after = lines_of(b.text);
  if (before.size() > kMaxLines || after.size() > kMaxLines) {
    return fail(ErrorKind::kTooLarge, "anchor_too_large",
                fmt::format("texts of more than {} lines are not compared", kMaxLines));
  }
  const Lines diff = line_diff(before, after);
  if (!input.settings.flag("json")) {
    print_text(a, b, diff);
    return a.digest == b.digest ? 0 : 3;
  }
  nlohmann::ordered_json changed = nlohmann::ordered_json::object();
  for (const Field& field : fields_of(a, b)) {
    if (field.a != field.b) changed[field.name] = {field.a, field.b};
  }
  const double distance = rows_distance(a, b);
  const nlohmann::ordered_json json = {
      {"equal", a.digest == b.digest},
      {"changed", std::move(changed)},
      {"common_tokens", common_tokens(a, b)},
      {"rows_max_difference",
       std::isnan(distance) ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(distance)},
      {"text", diff}};
  fmt::print("{}\n", json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  return a.digest == b.digest ? 0 : 3;
}

}  // namespace fieldprint::app
