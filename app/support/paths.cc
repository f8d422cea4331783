#include "app/support/paths.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

namespace fieldprint::app {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// $XDG_x_HOME if it is absolute (the specification ignores others), else ~/<fallback>.
std::string xdg(const char* variable, const char* fallback) {
  const std::string base = environment(variable);
  if (base.starts_with("/")) return base + "/fieldprint";
  const std::string home = environment("HOME");
  return (home.empty() ? "/tmp" : home) + "/" + fallback + "/fieldprint";
}

// systemd lists several folders with colons; ours is the first.
std::string systemd_dir(const char* variable) {
  const std::string list = environment(variable);
  return list.substr(0, list.find(':'));
}

Result<std::string> read_stream(std::FILE* file, const std::string& name, std::size_t limit) {
  std::string text;
  char buffer[1 << 16];
  while (const std::size_t got = std::fread(buffer, 1, sizeof buffer, file)) {
    if (text.size() + got > limit)
      return fail(ErrorKind::kTooLarge, "input_too_large",
                  fmt::format("{}: at most {} bytes are read", name, limit));
    text.append(buffer, got);
  }
  if (std::ferror(file) != 0)
    return fail(ErrorKind::kIo, "io_read", fmt::format("{}: {}", name, std::strerror(errno)));
  return text;
}

}  // namespace

std::vector<std::string> default_config_files() {
  return {"/etc/fieldprint/fieldprint.toml",
          xdg("XDG_CONFIG_HOME", ".config") + "/fieldprint.toml"};
}

std::string state_dir(const Settings& settings) {
  if (!settings.text("state-dir").empty()) return settings.text("state-dir");
  const std::string service = systemd_dir("STATE_DIRECTORY");
  return service.empty() ? xdg("XDG_STATE_HOME", ".local/state") : service;
}

std::string cache_dir(const Settings& settings) {
  if (!settings.text("cache-dir").empty()) return settings.text("cache-dir");
  const std::string service = systemd_dir("CACHE_DIRECTORY");
  return service.empty() ? xdg("XDG_CACHE_HOME", ".cache") : service;
}

std::vector<std::string> model_dirs(const Settings& settings) {
  if (!settings.list("models-dir").empty()) return settings.list("models-dir");
  return {"models", cache_dir(settings) + "/models", "/var/cache/fieldprint/models"};
}

Status make_folder(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return {};
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  if (!parent.empty() && parent != path) FP_TRY(make_folder(parent.string()));
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return fail(ErrorKind::kIo, "io_folder",
                fmt::format("{}: cannot be created: {}", path, std::strerror(errno)));
  return {};
}

Status write_file_atomically(const std::string& path, std::string_view bytes) {
  const std::string temporary = fmt::format("{}.{}.tmp", path, getpid());
  std::FILE* file = std::fopen(temporary.c_str(), "wb");
  const bool written = file != nullptr &&
                       std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size() &&
                       std::fflush(file) == 0 && fsync(fileno(file)) == 0;
  const int error = errno;
  if (file != nullptr) std::fclose(file);
  if (written && std::rename(temporary.c_str(), path.c_str()) == 0) return {};
  const int reason = written ? errno : error;
  std::remove(temporary.c_str());
  return fail(ErrorKind::kIo, "io_write", fmt::format("{}: {}", path, std::strerror(reason)));
}

Result<std::string> read_text_file(const std::string& path, std::size_t limit) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  struct stat info {};
  if (file == nullptr || fstat(fileno(file), &info) != 0 || S_ISDIR(info.st_mode)) {
    const int reason = file == nullptr ? errno : EISDIR;
    if (file != nullptr) std::fclose(file);
    return fail(reason == ENOENT || reason == EISDIR ? ErrorKind::kNotFound : ErrorKind::kIo,
                "io_open", fmt::format("{}: {}", path, std::strerror(reason)));
  }
  Result<std::string> text = read_stream(file, path, limit);
  std::fclose(file);
  return text;
}

Result<std::string> read_stdin(std::size_t limit) {
  return read_stream(stdin, "standard input", limit);
}

}  // namespace fieldprint::app
