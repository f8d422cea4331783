#include "app/support/model_file.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "app/support/paths.h"
#include "core/log.h"
#include "core/progress.h"
#include "crypto/sha256.h"

namespace fieldprint::app {
namespace {

constexpr std::size_t kMaxCacheBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxCachedFiles = 1000;
// Below this a file is hashed in well under a second: no progress is shown.
constexpr std::uint64_t kShowProgressBytes = std::uint64_t{1} << 30;

// What must be unchanged for a cached digest to be trusted.
nlohmann::json identity_of(const struct stat& info) {
  return {{"bytes", static_cast<std::int64_t>(info.st_size)},
          {"inode", static_cast<std::uint64_t>(info.st_ino)},
          {"mtime_ns",
           static_cast<std::int64_t>(info.st_mtim.tv_sec) * 1'000'000'000 + info.st_mtim.tv_nsec}};
}

nlohmann::json read_cache(const std::string& file) {
  const Result<std::string> text = read_text_file(file, kMaxCacheBytes);
  nlohmann::json cache =
      text ? nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false) : nlohmann::json();
  if (cache.is_object() && cache.value("version", nlohmann::json()) == 1 &&
      cache["files"].is_object())
    return cache;
  if (text) log_warn("digest cache is unreadable and starts anew", {{"file", file}});
  return {{"version", 1}, {"files", nlohmann::json::object()}};
}

std::optional<std::string> cached_digest(const nlohmann::json& cache, const std::string& path,
                                         const nlohmann::json& identity) {
  const auto entry = cache["files"].find(path);
  if (entry == cache["files"].end() || !entry->is_object()) return std::nullopt;
  const auto digest = entry->find("digest");
  if (digest == entry->end() || !digest->is_string()) return std::nullopt;
  for (const auto& [key, value] : identity.items())
    if (entry->value(key, nlohmann::json()) != value) return std::nullopt;
  const std::string text = digest->get<std::string>();
  const bool good = text.size() == 71 && text.starts_with("sha256:");
  return good ? std::optional<std::string>(text) : std::nullopt;
}

void store_digest(const std::string& cache_dir, const std::string& path, nlohmann::json identity,
                  const std::string& digest) {
  const std::string file = cache_dir + "/digests.json";
  nlohmann::json cache = read_cache(file);
  if (cache["files"].size() >= kMaxCachedFiles) cache["files"].clear();
  identity["digest"] = digest;
  cache["files"][path] = std::move(identity);
  Status stored = make_folder(cache_dir);
  if (stored)
    stored = write_file_atomically(
        file, cache.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  if (!stored) log_warn("digest is not cached", {{"reason", stored.error().message}});
}

}  // namespace

Result<std::string> choose_model(const Settings& settings) {
  if (!settings.text("model").empty()) return settings.text("model");
  std::string tried;
  for (const std::string& dir : model_dirs(settings)) {
    const std::string path = dir + "/" + kDefaultModel;
    std::error_code error;
    if (std::filesystem::is_regular_file(path, error)) return path;
    tried += (tried.empty() ? "" : ", ") + dir;
  }
  return fail(ErrorKind::kNotFound, "model_missing",
              fmt::format("{} is in none of {}; name a GGUF file with -m, or use 'make run' in a "
                          "checkout, which fetches it",
                          kDefaultModel, tried),
              "model");
}

Result<std::string> model_digest(const std::string& path, const std::string& cache_dir,
                                 DigestTrust trust) {
  struct stat info {};
  std::error_code error;
  const std::string full = std::filesystem::canonical(path, error).string();
  if (error || stat(full.c_str(), &info) != 0)
    return fail(ErrorKind::kNotFound, "model_missing", fmt::format("{}: no such model file", path),
                "model");
  const nlohmann::json identity = identity_of(info);
  if (trust == DigestTrust::kCached) {
    const auto digest = cached_digest(read_cache(cache_dir + "/digests.json"), full, identity);
    if (digest) return *digest;
  }
  const auto total = static_cast<std::uint64_t>(info.st_size);
  const ProgressStyle style =
      total < kShowProgressBytes ? ProgressStyle::kSilent : progress_style_for(STDERR_FILENO);
  Progress progress("hashing model", total + 1, style, stderr_progress_sink(style));
  FP_ASSIGN(const Digest256 digest, sha256_file(full, [&](std::uint64_t done, std::uint64_t) {
              progress.update(done);
              return true;
            }));
  progress.finish();
  store_digest(cache_dir, full, identity, digest_string(digest));
  return digest_string(digest);
}

}  // namespace fieldprint::app
