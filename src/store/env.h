// What storage code asks of the operating system: files, folders, sync, clock. Everything that
// must survive a crash goes through an Env, so that tests can fail any call or cut the power
// (store/fault_env.h); SQLite's own files follow through sqlite_vfs().
//
// Durability contract: bytes survive a power cut once WritableFile::sync() returned, a name
// (create, rename, remove) once sync_dir() of its folder did. Nothing else is promised.
//
// Thread rule: an Env may be used from any thread; a WritableFile belongs to one at a time.
// Errors of every call: disk_full, disk_read_only, file_missing, and else io_error; messages
// name the path and the system's reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace fieldprint {

class WritableFile {
 public:
  virtual ~WritableFile() = default;
  virtual Status append(std::span<const std::uint8_t> bytes) = 0;
  virtual Status sync() = 0;
};

class Env {
 public:
  virtual ~Env() = default;

  // The operating system itself. Lives as long as the process.
  static Env& real();

  // A new empty file, mode 0644 less the umask; an existing one is emptied.
  virtual Result<std::unique_ptr<WritableFile>> create_file(const std::string& path) = 0;
  // The whole of a regular file. Errors: file_too_large (over max_bytes), not_a_file.
  virtual Result<std::vector<std::uint8_t>> read_file(const std::string& path,
                                                      std::size_t max_bytes) = 0;
  virtual Status rename_file(const std::string& from, const std::string& to) = 0;
  virtual Status remove_file(const std::string& path) = 0;
  // Also refuses folders that are not empty (io_error).
  virtual Status remove_dir(const std::string& path) = 0;
  // One level, mode 0755 less the umask. True if it was made, false if it was there.
  virtual Result<bool> make_dir(const std::string& path) = 0;
  virtual Status sync_dir(const std::string& path) = 0;
  virtual Result<bool> exists(const std::string& path) = 0;
  // Names in a folder, sorted, without "." and "..". Errors: file_too_large (over max_names).
  virtual Result<std::vector<std::string>> list_dir(const std::string& path,
                                                    std::size_t max_names) = 0;
  // Wall clock, milliseconds since 1970.
  virtual std::int64_t now_ms() = 0;
  // Name of the SQLite VFS that goes with this Env; empty: SQLite's default.
  virtual std::string sqlite_vfs() const { return {}; }
};

// Writes a set of files so that each is whole or absent after a crash: temporary name, sync,
// rename; the folders are synced once, by finish(). Not thread-safe.
class DurableWriter {
 public:
  explicit DurableWriter(Env& env) : env_(env) {}

  // Makes missing parent folders. The file is durable after finish().
  Status write(const std::string& path, std::span<const std::uint8_t> bytes);
  Status finish();

 private:
  Status make_parents(const std::string& path);

  Env& env_;
  std::set<std::string> known_dirs_;
  std::set<std::string> unsynced_dirs_;
};

// One file, durable on return. Errors: as Env.
Status write_file_durably(Env& env, const std::string& path, std::string_view bytes);
// A folder and its missing parents, durable on return. Errors: as Env.
Status make_dirs_durably(Env& env, const std::string& path);

// Folder part of a path: "." without a slash, "/" for the root's entries.
std::string parent_dir(const std::string& path);
// The Error for an errno of `action` on `path`. The disk's state has codes of its own.
Error system_error(int error_number, std::string_view action, const std::string& path);

}  // namespace fieldprint
