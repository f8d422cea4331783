#include "crypto/key_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

namespace fieldprint {
namespace {

constexpr mode_t kSecretMode = 0600;
constexpr mode_t kPublicMode = 0644;
constexpr mode_t kOthers = 0077;

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  int get() const { return value_; }

 private:
  int value_;
};

tl::unexpected<Error> io_error(const std::string& path, const char* what) {
  return fail(ErrorKind::kIo, "key_file_io",
              "key file " + path + ": " + what + ": " + std::strerror(errno));
}

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Status sync_folder(const std::string& path) {
  const Descriptor folder(::open(folder_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0 || ::fsync(folder.get()) != 0) return io_error(path, "sync of its folder");
  return {};
}

Status write_all(int file, const std::string& path, std::string_view contents) {
  while (!contents.empty()) {
    const ssize_t wrote = ::write(file, contents.data(), contents.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return io_error(path, "write");
    contents.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return {};
}

Status create(const std::string& path, std::string_view contents, mode_t mode) {
  const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
  const Descriptor file(::open(path.c_str(), flags, kSecretMode));
  if (file.get() < 0 && errno == EEXIST) {
    return fail(ErrorKind::kInvalid, "key_file_exists",
                "key file " + path + " exists and is never overwritten; choose another name");
  }
  if (file.get() < 0) return io_error(path, "create");
  // The umask may have taken rights away, and a public file gets more than 0600.
  Status status = ::fchmod(file.get(), mode) == 0 ? Status{} : Status(io_error(path, "chmod"));
  if (status) status = write_all(file.get(), path, contents);
  if (status && ::fsync(file.get()) != 0) status = io_error(path, "sync");
  if (status) status = sync_folder(path);
  if (!status) ::unlink(path.c_str());
  return status;
}

enum class Secrecy { kSecret, kPublic };

Status check_access(const struct stat& info, const std::string& path) {
  if ((info.st_mode & kOthers) != 0) {
    char mode[8];
    std::snprintf(mode, sizeof mode, "%04o", static_cast<unsigned>(info.st_mode & 07777));
    return fail(ErrorKind::kForbidden, "key_file_permissions",
                "key file " + path + " has mode " + mode +
                    ", so that others can read or change it; run: chmod 600 '" + path + "'");
  }
  if (info.st_uid != ::geteuid() && info.st_uid != 0) {
    return fail(ErrorKind::kForbidden, "key_file_owner",
                "key file " + path + " belongs to another user; run as that user or copy it");
  }
  return {};
}

// The open file and its size, checked.
Result<std::pair<Descriptor, std::size_t>> open_key(const std::string& path, Secrecy secrecy) {
  // Without O_NONBLOCK, opening a named pipe would wait for a writer.
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0 && errno == ENOENT) {
    return fail(ErrorKind::kNotFound, "key_file_missing",
                "key file " + path + " does not exist; 'fieldprint keygen' makes one");
  }
  if (file.get() < 0) return io_error(path, "open");
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return io_error(path, "stat");
  if (!S_ISREG(info.st_mode)) {
    return fail(ErrorKind::kInvalid, "key_file_not_regular",
                "key file " + path + " is not a regular file");
  }
  if (secrecy == Secrecy::kSecret) FP_TRY(check_access(info, path));
  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (size == 0) {
    return fail(ErrorKind::kInvalid, "key_file_empty", "key file " + path + " is empty");
  }
  if (size > kMaxKeyFileBytes) {
    return fail(ErrorKind::kTooLarge, "key_file_too_large",
                "key file " + path + " has more than 16384 bytes; this is no key");
  }
  return std::pair<Descriptor, std::size_t>(std::move(file), static_cast<std::size_t>(size));
}

Status read_all(int file, const std::string& path, std::span<std::uint8_t> out) {
  while (!out.empty()) {
    const ssize_t got = ::read(file, out.data(), out.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return io_error(path, "read");
    if (got == 0) {
      return fail(ErrorKind::kIo, "key_file_io", "key file " + path + " shrank while it was read");
    }
    out = out.subspan(static_cast<std::size_t>(got));
  }
  return {};
}

}  // namespace

Status write_secret_key_file(const std::string& path, std::string_view contents) {
  return create(path, contents, kSecretMode);
}

Status write_public_key_file(const std::string& path, std::string_view contents) {
  return create(path, contents, kPublicMode);
}

Result<SecretBytes> read_secret_key_file(const std::string& path) {
  FP_ASSIGN(const auto file, open_key(path, Secrecy::kSecret));
  SecretBytes bytes(file.second);
  FP_TRY(read_all(file.first.get(), path, bytes.span()));
  return bytes;
}

Result<std::string> read_public_key_file(const std::string& path) {
  FP_ASSIGN(const auto file, open_key(path, Secrecy::kPublic));
  std::string text(file.second, '\0');
  FP_TRY(read_all(file.first.get(), path,
                  std::span(reinterpret_cast<std::uint8_t*>(text.data()), text.size())));
  return text;
}

}  // namespace fieldprint
