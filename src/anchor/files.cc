#include "anchor/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

namespace fieldprint {
namespace {

tl::unexpected<Error> io_error(const char* code, const std::string& what) {
  return fail(ErrorKind::kIo, code, what + ": " + std::strerror(errno));
}

// Some file systems refuse single calls above 2 GiB.
constexpr std::size_t kMaxCall = std::size_t{1} << 30;

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

Status write_all(int fd, std::span<const std::uint8_t> bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t wrote = ::write(fd, bytes.data(), std::min(bytes.size(), kMaxCall));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return io_error("io_write", "cannot write " + path);
    bytes = bytes.subspan(static_cast<std::size_t>(wrote));
  }
  return {};
}

}  // namespace

InputFile::InputFile(int fd, std::uint64_t size, std::string path)
    : fd_(fd), size_(size), path_(std::move(path)) {}
InputFile::InputFile(InputFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), size_(other.size_), path_(std::move(other.path_)) {}
InputFile::~InputFile() {
  if (fd_ >= 0) ::close(fd_);
}

Result<InputFile> InputFile::open(const std::string& path) {
  // Non-blocking, so that a pipe in the folder cannot hang the open.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
  if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) {
    return fail(ErrorKind::kNotFound, "anchor_missing", "there is no anchor file " + path);
  }
  if (fd < 0 && errno == ELOOP) {
    return fail(ErrorKind::kForbidden, "anchor_symlink",
                path + " is a symbolic link; an anchor's files must be in its folder");
  }
  if (fd < 0) return io_error("io_open", "cannot open " + path);
  InputFile file(fd, 0, path);
  struct stat info {};
  if (::fstat(fd, &info) != 0) return io_error("io_open", "cannot read the size of " + path);
  if (!S_ISREG(info.st_mode)) {
    return fail(ErrorKind::kCorrupt, "anchor_corrupt", path + " is not a regular file");
  }
  file.size_ = static_cast<std::uint64_t>(info.st_size);
  return file;
}

Status InputFile::read(std::span<std::uint8_t> out) {
  while (!out.empty()) {
    const ssize_t got = ::read(fd_, out.data(), std::min(out.size(), kMaxCall));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return io_error("io_read", "cannot read " + path_);
    if (got == 0) return fail(ErrorKind::kCorrupt, "anchor_corrupt", path_ + " ends early");
    out = out.subspan(static_cast<std::size_t>(got));
  }
  return {};
}

Status write_file_synced(const std::string& path,
                         std::initializer_list<std::span<const std::uint8_t>> pieces) {
  const Descriptor file{::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644)};
  if (file.fd < 0) return io_error("io_write", "cannot create " + path);
  for (const auto& piece : pieces) FP_TRY(write_all(file.fd, piece, path));
  if (::fsync(file.fd) != 0) return io_error("io_write", "cannot sync " + path);
  return {};
}

Status sync_folder(const std::string& path) {
  const Descriptor folder{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (folder.fd < 0) return io_error("io_write", "cannot open folder " + path);
  if (::fsync(folder.fd) != 0) return io_error("io_write", "cannot sync folder " + path);
  return {};
}

Status rename_folder(const std::string& from, const std::string& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return {};
  if (errno == EINVAL || errno == ENOSYS) {
    // A file system without the flag. rename() then replaces nothing but an empty folder.
    struct stat info {};
    if (::lstat(to.c_str(), &info) == 0)
      errno = EEXIST;
    else if (::rename(from.c_str(), to.c_str()) == 0)
      return {};
  }
  if (errno == EEXIST || errno == ENOTEMPTY) {
    return fail(ErrorKind::kInvalid, "anchor_exists",
                to + " exists already; choose another folder or remove it");
  }
  return io_error("io_write", "cannot rename " + from + " to " + to);
}

Status exchange_folders(const std::string& a, const std::string& b) {
  if (::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0) return {};
  if (errno == EINVAL || errno == ENOSYS) {
    const std::string aside = b + ".old";
    FP_TRY(rename_folder(b, aside));
    FP_TRY(rename_folder(a, b));
    return rename_folder(aside, a);
  }
  if (errno == ENOENT) {
    return fail(ErrorKind::kNotFound, "anchor_missing", "there is no anchor folder " + b);
  }
  return io_error("io_write", "cannot exchange " + a + " and " + b);
}

}  // namespace fieldprint
