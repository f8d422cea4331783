#include "anchor/document.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "anchor/safetensors.h"
#include "codec/canonical_json.h"
#include "codec/utf8.h"
#include "provenance/scope.h"

namespace fieldprint {
namespace {

constexpr const char* kFormat = "fieldprint-anchor";
constexpr std::size_t kMaxField = 256;
constexpr std::size_t kDigestText = 7 + 64;

tl::unexpected<Error> corrupt(const std::string& what) {
  return fail(ErrorKind::kCorrupt, "anchor_corrupt", what);
}

// Errors of the JSON layer under the names this format promises.
tl::unexpected<Error> rename(const Error& error) {
  if (error.code == "json_too_large") {
    return fail(ErrorKind::kTooLarge, "anchor_too_large", error.message, error.param);
  }
  if (error.code == "json_unknown_field") {
    return fail(ErrorKind::kUnsupported, "anchor_unknown_field", error.message, error.param);
  }
  return fail(ErrorKind::kCorrupt, "anchor_corrupt", "anchor.json: " + error.message, error.param);
}

Status check_version(const CanonicalValue& root) {
  const CanonicalValue::Object* const fields = root.object();
  if (fields == nullptr) return corrupt("anchor.json is not an object");
  const auto format = fields->find("format");
  if (format == fields->end() || format->second.string() == nullptr ||
      *format->second.string() != kFormat) {
    return corrupt("anchor.json does not say format \"" + std::string(kFormat) + "\"");
  }
  const auto version = fields->find("version");
  if (version == fields->end() || version->second.integer() == nullptr) {
    return corrupt("anchor.json has no version");
  }
  if (*version->second.integer() != kAnchorVersion) {
    return fail(ErrorKind::kUnsupported, "anchor_version",
                "anchor.json has version " + std::to_string(*version->second.integer()) +
                    ", this build reads version " + std::to_string(kAnchorVersion));
  }
  return {};
}

Status check_head(const AnchorDocument& document) {
  const AnchorArtifact& head = document.head;
  FP_TRY(check_anchor_name(head.name));
  if (!is_digest_text(head.model_digest))
    return corrupt("model_digest is not sha256:<64 hex digits>");
  if (!is_digest_text(document.text.digest)) return corrupt("text.digest is not a SHA-256");
  if (!is_digest_text(document.rows.digest)) return corrupt("rows.digest is not a SHA-256");
  if (!document.supervision.digest.empty() && !is_digest_text(document.supervision.digest)) {
    return corrupt("supervision.digest is not a SHA-256");
  }
  if (head.recipe.method != "exact") {
    return fail(ErrorKind::kUnsupported, "anchor_version",
                "recipe.method '" + head.recipe.method + "' is unknown to this build");
  }
  if (head.recipe.wrap != "system" && head.recipe.wrap != "raw") {
    return fail(ErrorKind::kUnsupported, "anchor_version",
                "recipe.wrap '" + head.recipe.wrap + "' is unknown to this build");
  }
  if (std::ranges::any_of(head.tokens, [](TokenId token) { return token < 0; })) {
    return corrupt("a token id is negative");
  }
  return {};
}

Status check_shape(const AnchorArtifact& head) {
  const auto within = [](std::int32_t value, std::int32_t limit) {
    return value >= 1 && value <= limit;
  };
  if (!within(head.layers, kAnchorMaxLayers) || !within(head.kv_heads, kAnchorMaxHeads) ||
      !within(head.head_dim, kAnchorMaxHeadDim)) {
    return corrupt("the anchor's shape is outside the limits");
  }
  if (head.tokens.size() > static_cast<std::size_t>(kAnchorMaxTokens)) {
    return fail(ErrorKind::kTooLarge, "anchor_too_large",
                "the anchor has " + std::to_string(head.tokens.size()) + " tokens, at most " +
                    std::to_string(kAnchorMaxTokens) + " are allowed; shorten the text");
  }
  if (head.length() < kAnchorMinTokens) {
    return corrupt("an anchor needs at least " + std::to_string(kAnchorMinTokens) + " tokens");
  }
  // At most 2^43 elements by the limits above: no overflow here.
  const std::uint64_t bytes = anchor_kv_elements(head) * 4 + anchor_beta_elements(head) * 4;
  if (bytes + kSafetensorsMaxHeader > kAnchorMaxRows) {
    return fail(ErrorKind::kTooLarge, "anchor_too_large",
                "the anchor's rows need " + std::to_string(bytes) + " bytes, at most " +
                    std::to_string(kAnchorMaxRows) + " are allowed; shorten the text");
  }
  return {};
}

CanonicalValue file_value(const FileDigest& file) {
  return CanonicalValue::Object{{"digest", file.digest},
                                {"size", static_cast<std::int64_t>(file.size)}};
}

FileDigest read_file_value(const CanonicalValue& value, const char* path, std::uint64_t limit,
                           Status& status) {
  FieldReader fields(value, path);
  FileDigest file;
  file.digest = fields.string("digest", kDigestText);
  file.size =
      static_cast<std::uint64_t>(fields.integer("size", 0, static_cast<std::int64_t>(limit)));
  if (status) status = fields.finish();
  return file;
}

AnchorRecipe read_recipe(const CanonicalValue& value, Status& status) {
  FieldReader fields(value, "anchor.recipe");
  AnchorRecipe recipe;
  recipe.method = fields.string("method", kMaxField);
  recipe.wrap = fields.string("wrap", kMaxField);
  recipe.chat_template = fields.string("chat_template", kMaxField);
  recipe.numeric_profile = fields.string("numeric_profile", kMaxField);
  if (status) status = fields.finish();
  return recipe;
}

// Without an early exit, so that the compiler can look at many values at once: adding one unit of
// the exponent to one that is all ones carries into the sign's place.
bool all_finite(const std::vector<std::uint16_t>& values) {
  std::uint16_t carried = 0;
  for (const std::uint16_t bits : values) {
    carried = static_cast<std::uint16_t>(carried | ((bits & 0x7F80U) + 0x0080U));
  }
  return (carried & 0x8000U) == 0;
}

}  // namespace

Status check_anchor_name(std::string_view name) {
  const auto printable = [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7F; };
  if (!name.empty() && name.size() <= kAnchorMaxName && utf8_valid(name) &&
      std::ranges::all_of(name, printable)) {
    return {};
  }
  return fail(ErrorKind::kInvalid, "anchor_name_invalid",
              "an anchor's name is 1 to " + std::to_string(kAnchorMaxName) +
                  " bytes of UTF-8 without control characters",
              "name");
}

std::uint64_t anchor_beta_elements(const AnchorArtifact& head) {
  return static_cast<std::uint64_t>(head.layers) * static_cast<std::uint64_t>(head.kv_heads) *
         head.tokens.size();
}

std::uint64_t anchor_kv_elements(const AnchorArtifact& head) {
  return anchor_beta_elements(head) * static_cast<std::uint64_t>(head.head_dim);
}

Result<std::string> print_anchor_json(const AnchorDocument& document) {
  FP_TRY(check_shape(document.head));
  FP_TRY(check_head(document));
  const AnchorArtifact& head = document.head;
  CanonicalValue::Array tokens;
  for (const TokenId token : head.tokens) tokens.emplace_back(std::int64_t{token});
  CanonicalValue::Object root{
      {"format", kFormat},
      {"version", kAnchorVersion},
      {"name", head.name},
      {"model_digest", head.model_digest},
      {"recipe", CanonicalValue::Object{{"method", head.recipe.method},
                                        {"wrap", head.recipe.wrap},
                                        {"chat_template", head.recipe.chat_template},
                                        {"numeric_profile", head.recipe.numeric_profile}}},
      {"layers", std::int64_t{head.layers}},
      {"kv_heads", std::int64_t{head.kv_heads}},
      {"head_dim", std::int64_t{head.head_dim}},
      {"tokens", std::move(tokens)},
      {"text", file_value(document.text)},
      {"rows", file_value(document.rows)},
  };
  if (!document.supervision.digest.empty()) {
    root.emplace("supervision", file_value(document.supervision));
  }
  const Result<std::string> text = canonical_print(CanonicalValue(std::move(root)));
  if (!text) return rename(text.error());
  return *text;
}

Result<AnchorDocument> parse_anchor_json(std::span<const std::uint8_t> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const JsonLimits limits{.max_bytes = kAnchorMaxJson,
                          .max_values = static_cast<std::size_t>(kAnchorMaxTokens) + 64,
                          .max_depth = 3};
  const auto root = canonical_parse(text, limits);
  if (!root) return rename(root.error());
  FP_TRY(check_version(*root));
  AnchorDocument document;
  AnchorArtifact& head = document.head;
  FieldReader fields(*root, "anchor");
  fields.string("format", kMaxField);
  fields.integer("version", kAnchorVersion, kAnchorVersion);
  head.name = fields.string("name", kAnchorMaxName);
  head.model_digest = fields.string("model_digest", kDigestText);
  head.layers = static_cast<std::int32_t>(fields.integer("layers", 1, kAnchorMaxLayers));
  head.kv_heads = static_cast<std::int32_t>(fields.integer("kv_heads", 1, kAnchorMaxHeads));
  head.head_dim = static_cast<std::int32_t>(fields.integer("head_dim", 1, kAnchorMaxHeadDim));
  const CanonicalValue::Array& tokens =
      fields.array("tokens", static_cast<std::size_t>(kAnchorMaxTokens));
  const CanonicalValue& recipe = fields.object("recipe");
  const CanonicalValue& text_file = fields.object("text");
  const CanonicalValue& rows_file = fields.object("rows");
  const CanonicalValue* const supervision_file =
      member(&*root, "supervision") == nullptr ? nullptr : &fields.object("supervision");
  Status status = fields.finish();
  head.recipe = read_recipe(recipe, status);
  document.text = read_file_value(text_file, "anchor.text", kAnchorMaxText, status);
  document.rows = read_file_value(rows_file, "anchor.rows", kAnchorMaxRows, status);
  if (supervision_file != nullptr) {
    document.supervision =
        read_file_value(*supervision_file, "anchor.supervision", kAnchorMaxSupervision, status);
    if (status && (document.supervision.digest.empty() || document.supervision.size == 0)) {
      return corrupt("supervision has no digest or no size; an anchor without one leaves it out");
    }
  }
  if (!status) return rename(status.error());
  for (const CanonicalValue& token : tokens) {
    if (token.integer() == nullptr || *token.integer() < 0 || *token.integer() > INT32_MAX) {
      return corrupt("anchor.tokens holds something that is not a token id");
    }
    head.tokens.push_back(static_cast<TokenId>(*token.integer()));
  }
  FP_TRY(check_shape(head));
  FP_TRY(check_head(document));
  head.digest = digest_string(sha256(bytes));
  return document;
}

std::string anchor_rows_header(const AnchorArtifact& head) {
  const std::vector<std::int64_t> beta = {head.layers, head.kv_heads, head.length()};
  std::vector<std::int64_t> kv = beta;
  kv.push_back(head.head_dim);
  std::vector<TensorInfo> tensors = {{"k", TensorType::kBf16, kv},
                                     {"v", TensorType::kBf16, kv},
                                     {"beta_fit", TensorType::kF32, beta}};
  return layout_safetensors(tensors);
}

Status check_anchor_values(const AnchorArtifact& artifact) {
  if (!utf8_valid(artifact.text)) return corrupt("the anchor's text is not valid UTF-8");
  if (!all_finite(artifact.k) || !all_finite(artifact.v)) {
    return corrupt("the anchor's rows hold an infinity or NaN");
  }
  const bool exact = artifact.recipe.method == "exact";
  for (const float beta : artifact.beta_fit) {
    if (!std::isfinite(beta)) return corrupt("beta_fit holds an infinity or NaN");
    if (exact && beta != 0.0F) return corrupt("beta_fit of exact rows is not 0");
  }
  return {};
}

Result<AnchorDocument> describe_anchor(const AnchorArtifact& artifact) {
  if (artifact.text.size() > kAnchorMaxText) {
    return fail(ErrorKind::kTooLarge, "anchor_too_large",
                "the anchor's text has " + std::to_string(artifact.text.size()) +
                    " bytes, at most " + std::to_string(kAnchorMaxText) + " are allowed");
  }
  FP_TRY(check_shape(artifact));
  if (artifact.k.size() != anchor_kv_elements(artifact) || artifact.v.size() != artifact.k.size() ||
      artifact.beta_fit.size() != anchor_beta_elements(artifact)) {
    return corrupt("the anchor's rows do not have the shape it states");
  }
  FP_TRY(check_anchor_values(artifact));
  const auto bytes_of = [](const auto& values) {
    return std::span(reinterpret_cast<const std::uint8_t*>(values.data()),
                     values.size() * sizeof(values[0]));
  };
  AnchorDocument document;
  AnchorArtifact& head = document.head;
  head.name = artifact.name;
  head.tokens = artifact.tokens;
  head.model_digest = artifact.model_digest;
  head.recipe = artifact.recipe;
  head.layers = artifact.layers;
  head.kv_heads = artifact.kv_heads;
  head.head_dim = artifact.head_dim;
  document.text = {digest_string(sha256(artifact.text)), artifact.text.size()};
  const std::string header = anchor_rows_header(head);
  Sha256 hash;
  hash.update(header).update(bytes_of(artifact.k)).update(bytes_of(artifact.v));
  hash.update(bytes_of(artifact.beta_fit));
  document.rows = {digest_string(hash.finish()),
                   header.size() + anchor_kv_elements(head) * 4 + anchor_beta_elements(head) * 4};
  if (artifact.supervision.size() > kAnchorMaxSupervision) {
    return fail(ErrorKind::kTooLarge, "anchor_too_large",
                "the supervision recipe has " + std::to_string(artifact.supervision.size()) +
                    " bytes, at most " + std::to_string(kAnchorMaxSupervision) + " are allowed");
  }
  if (!artifact.supervision.empty()) {
    document.supervision = {digest_string(sha256(artifact.supervision)),
                            artifact.supervision.size()};
  }
  FP_ASSIGN(const std::string json, print_anchor_json(document));
  head.digest = digest_string(sha256(json));
  return document;
}

Status seal_anchor(AnchorArtifact& artifact) {
  FP_ASSIGN(const AnchorDocument document, describe_anchor(artifact));
  artifact.digest = document.head.digest;
  return {};
}

}  // namespace fieldprint
