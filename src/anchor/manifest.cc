#include "anchor/manifest.h"

#include <algorithm>
#include <set>

#include "codec/canonical_json.h"
#include "codec/hex.h"
#include "core/check.h"
#include "crypto/sha256.h"
#include "provenance/scope.h"

namespace fieldprint {
namespace {

constexpr const char* kStatementUri = "https://in-toto.io/Statement/v1";
constexpr const char* kPredicateUri = "https://model_signing/signature/v1.0";
constexpr std::size_t kMaxValues = 8192;
constexpr int kMaxDepth = 10;
constexpr std::size_t kShown = 256;

tl::unexpected<Error> corrupt(const std::string& what) {
  return fail(ErrorKind::kCorrupt, "manifest_corrupt", "signed manifest: " + what);
}
tl::unexpected<Error> too_large(const std::string& what) {
  return fail(ErrorKind::kTooLarge, "manifest_too_large", "signed manifest: " + what);
}
tl::unexpected<Error> unknown(const std::string& what, const std::string& found) {
  return fail(ErrorKind::kUnsupported, "manifest_type_unknown",
              "signed manifest: " + what + " is '" + found.substr(0, kShown) + "'");
}

bool is_safe_path(std::string_view path) {
  if (path.empty() || path.size() > kManifestMaxName || path.front() == '/') return false;
  if (std::ranges::any_of(path, [](char c) {
        return static_cast<unsigned char>(c) < 0x20 || c == '\\' || c == 0x7F;
      })) {
    return false;
  }
  while (true) {
    const std::size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

Status check_files(const std::vector<ManifestFile>& files) {
  if (files.empty()) return corrupt("it lists no file");
  if (files.size() > kManifestMaxFiles) return too_large("it lists too many files");
  std::set<std::string_view> names;
  for (const ManifestFile& file : files) {
    if (!is_safe_path(file.name)) {
      return fail(ErrorKind::kForbidden, "manifest_path_unsafe",
                  "signed manifest: '" + file.name.substr(0, kShown) +
                      "' is not a plain path inside the folder");
    }
    if (!is_digest_text(file.digest)) return corrupt("'" + file.name + "' has no SHA-256 digest");
    if (!names.insert(file.name).second) return corrupt("'" + file.name + "' is listed twice");
  }
  return {};
}

const CanonicalValue::Array* array_member(const CanonicalValue* value, const char* name) {
  const CanonicalValue* const found = member(value, name);
  return found == nullptr ? nullptr : found->array();
}

Status expect_text(const CanonicalValue* value, const char* name, std::string_view wanted) {
  const std::string* const text = text_member(value, name);
  if (text == nullptr) return unknown(name, "(none)");
  return *text == wanted ? Status{} : unknown(name, *text);
}

Status read_files(const CanonicalValue::Array& resources, Manifest& manifest) {
  for (const CanonicalValue& resource : resources) {
    const std::string* const name = text_member(&resource, "name");
    const std::string* const digest = text_member(&resource, "digest");
    if (name == nullptr || digest == nullptr) return corrupt("a resource has no name or digest");
    FP_TRY(expect_text(&resource, "algorithm", "sha256"));
    manifest.files.push_back({*name, "sha256:" + *digest});
  }
  return {};
}

}  // namespace

std::string manifest_digest(const std::vector<ManifestFile>& files) {
  Sha256 hash;
  for (const ManifestFile& file : files) {
    const auto bytes = hex_decode(std::string_view(file.digest).substr(7));
    FP_CHECK(bytes.has_value());  // check_files
    hash.update(*bytes);
  }
  return digest_string(hash.finish());
}

Result<std::string> print_manifest(Manifest manifest) {
  FP_TRY(check_files(manifest.files));
  std::ranges::sort(manifest.files, {}, &ManifestFile::name);
  CanonicalValue::Array resources;
  for (const ManifestFile& file : manifest.files) {
    resources.emplace_back(CanonicalValue::Object{
        {"algorithm", "sha256"}, {"digest", file.digest.substr(7)}, {"name", file.name}});
  }
  const CanonicalValue subject(CanonicalValue::Array{CanonicalValue::Object{
      {"digest", CanonicalValue::Object{{"sha256", manifest_digest(manifest.files).substr(7)}}},
      {"name", manifest.name}}});
  FP_ASSIGN(const std::string listed, canonical_print(CanonicalValue(std::move(resources))));
  FP_ASSIGN(const std::string named, canonical_print(subject));
  // Spelled out because of `false`, which canonical JSON here does not have.
  std::string text = R"({"_type":")" + std::string(kStatementUri) +
                     R"(","predicate":{"resources":)" + listed +
                     R"(,"serialization":{"allow_symlinks":false,"hash_type":"sha256",)" +
                     R"("ignore_paths":["model.sig"],"method":"files"}},"predicateType":")" +
                     kPredicateUri + R"(","subject":)" + named + "}";
  if (text.size() > kManifestMaxBytes) return too_large("it is longer than 64 KiB");
  return text;
}

Result<Manifest> parse_manifest(std::string_view payload) {
  const Result<CanonicalValue> root = json_parse(payload, {.max_bytes = kManifestMaxBytes,
                                                           .max_values = kMaxValues,
                                                           .max_depth = kMaxDepth,
                                                           .literals = JsonLiterals::kKeep});
  if (!root && root.error().code == "json_too_large") return too_large(root.error().message);
  if (!root) return corrupt(root.error().message);
  FP_TRY(expect_text(&*root, "_type", kStatementUri));
  FP_TRY(expect_text(&*root, "predicateType", kPredicateUri));
  const CanonicalValue* const predicate = member(&*root, "predicate");
  const CanonicalValue* const serialization = member(predicate, "serialization");
  FP_TRY(expect_text(serialization, "method", "files"));
  FP_TRY(expect_text(serialization, "hash_type", "sha256"));
  const CanonicalValue::Array* const subjects = array_member(&*root, "subject");
  const CanonicalValue::Array* const resources = array_member(predicate, "resources");
  if (subjects == nullptr || subjects->size() != 1)
    return corrupt("it has not exactly one subject");
  if (resources == nullptr) return corrupt("it lists no file");
  Manifest manifest;
  const std::string* const name = text_member(&subjects->front(), "name");
  if (name != nullptr) manifest.name = *name;
  FP_TRY(read_files(*resources, manifest));
  FP_TRY(check_files(manifest.files));
  const std::string* const digest = text_member(member(&subjects->front(), "digest"), "sha256");
  if (digest == nullptr || "sha256:" + *digest != manifest_digest(manifest.files)) {
    return corrupt("the subject's digest is not that of the files it lists");
  }
  return manifest;
}

}  // namespace fieldprint
