#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "store/env.h"

namespace fieldprint {
namespace {

tl::unexpected<Error> os_error(std::string_view action, const std::string& path) {
  return tl::unexpected(system_error(errno, action, path));
}

class PosixFile : public WritableFile {
 public:
  PosixFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  ~PosixFile() override { ::close(fd_); }
  PosixFile(const PosixFile&) = delete;
  PosixFile& operator=(const PosixFile&) = delete;

  Status append(std::span<const std::uint8_t> bytes) override {
    while (!bytes.empty()) {
      const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return os_error("write", path_);
      bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    return {};
  }

  Status sync() override {
    if (::fsync(fd_) != 0) return os_error("sync", path_);
    return {};
  }

 private:
  int fd_;
  std::string path_;
};

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

Result<std::vector<std::uint8_t>> read_all(int fd, std::size_t size, const std::string& path) {
  std::vector<std::uint8_t> bytes(size);
  std::size_t done = 0;
  while (done < size) {
    const ssize_t n = ::read(fd, bytes.data() + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return os_error("read", path);
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  bytes.resize(done);
  return bytes;
}

class PosixEnv : public Env {
 public:
  Result<std::unique_ptr<WritableFile>> create_file(const std::string& path) override {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                          S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH);
    if (fd < 0) return os_error("create", path);
    return std::make_unique<PosixFile>(fd, path);
  }

  Result<std::vector<std::uint8_t>> read_file(const std::string& path,
                                              std::size_t max_bytes) override {
    // O_NONBLOCK: opening a pipe must not wait for its other end.
    const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (fd.get() < 0) return os_error("open", path);
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) return os_error("stat", path);
    if (!S_ISREG(info.st_mode))
      return fail(ErrorKind::kInvalid, "not_a_file", path + ": not a regular file");
    const auto size = static_cast<std::uint64_t>(info.st_size);
    if (size > max_bytes)
      return fail(ErrorKind::kTooLarge, "file_too_large",
                  path + ": " + std::to_string(size) + " bytes, at most " +
                      std::to_string(max_bytes) + " are read");
    return read_all(fd.get(), static_cast<std::size_t>(size), path);
  }

  Status rename_file(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) return os_error("rename to", to);
    return {};
  }

  Status remove_file(const std::string& path) override {
    if (::unlink(path.c_str()) != 0) return os_error("remove", path);
    return {};
  }

  Status remove_dir(const std::string& path) override {
    if (::rmdir(path.c_str()) != 0) return os_error("remove", path);
    return {};
  }

  Result<bool> make_dir(const std::string& path) override {
    if (::mkdir(path.c_str(), S_IRWXU | S_IRGRP | S_IXGRP | S_IROTH | S_IXOTH) == 0) return true;
    if (errno != EEXIST) return os_error("make folder", path);
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) return os_error("stat", path);
    if (!S_ISDIR(info.st_mode))
      return fail(ErrorKind::kIo, "io_error", path + ": is in the way, a folder is needed here");
    return false;
  }

  Status sync_dir(const std::string& path) override {
    const Descriptor fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd.get() < 0) return os_error("open folder", path);
    if (::fsync(fd.get()) != 0) return os_error("sync folder", path);
    return {};
  }

  Result<bool> exists(const std::string& path) override {
    struct stat info {};
    if (::stat(path.c_str(), &info) == 0) return true;
    if (errno == ENOENT || errno == ENOTDIR) return false;
    return os_error("stat", path);
  }

  Result<std::vector<std::string>> list_dir(const std::string& path,
                                            std::size_t max_names) override {
    const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(path.c_str()), ::closedir);
    if (dir == nullptr) return os_error("open folder", path);
    std::vector<std::string> names;
    errno = 0;
    // readdir is thread-safe for distinct streams in every libc this runs on.
    while (const dirent* entry = ::readdir(dir.get())) {  // NOLINT(concurrency-mt-unsafe)
      const std::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      if (names.size() >= max_names)
        return fail(ErrorKind::kTooLarge, "file_too_large",
                    path + ": more than " + std::to_string(max_names) + " entries");
      names.emplace_back(name);
      errno = 0;
    }
    if (errno != 0) return os_error("read folder", path);
    std::sort(names.begin(), names.end());
    return names;
  }

  std::int64_t now_ms() override {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  }
};

}  // namespace

Env& Env::real() {
  static PosixEnv env;
  return env;
}

Error system_error(int error_number, std::string_view action, const std::string& path) {
  char buffer[128] = {};
  const char* reason = ::strerror_r(error_number, buffer, sizeof buffer);  // GNU form
  const std::string what = path + ": cannot " + std::string(action) + ": " + reason;
  if (error_number == ENOSPC || error_number == EDQUOT)
    return {ErrorKind::kExhausted, "disk_full", what + "; free some space and try again", ""};
  if (error_number == EROFS || error_number == EACCES || error_number == EPERM)
    return {ErrorKind::kIo, "disk_read_only", what + "; the folder must be writable", ""};
  if (error_number == ENOENT || error_number == ENOTDIR)
    return {ErrorKind::kNotFound, "file_missing", what, ""};
  return {ErrorKind::kIo, "io_error", what, ""};
}

}  // namespace fieldprint
