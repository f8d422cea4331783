// The few file operations an anchor folder needs. Internal to src/anchor.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "core/error.h"

namespace fieldprint {

// A regular file open for reading; devices, pipes and folders are refused.
class InputFile {
 public:
  // Errors: anchor_missing (no such file), anchor_corrupt (not a regular file),
  // anchor_symlink, io_open.
  static Result<InputFile> open(const std::string& path);
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&&) = delete;

  std::uint64_t size() const { return size_; }
  // Fills all of `out` from the current place. Errors: io_read, anchor_corrupt (the file
  // ended early).
  Status read(std::span<std::uint8_t> out);

 private:
  InputFile(int fd, std::uint64_t size, std::string path);
  int fd_;
  std::uint64_t size_;
  std::string path_;
};

// Writes a new file from several pieces and syncs it. Errors: io_write.
Status write_file_synced(const std::string& path,
                         std::initializer_list<std::span<const std::uint8_t>> pieces);
// Makes a folder's entries durable. Errors: io_write.
Status sync_folder(const std::string& path);
// Renames a folder; an existing target is never replaced. Errors: anchor_exists, io_write.
Status rename_folder(const std::string& from, const std::string& to);
// Two folders change places; where the file system cannot do that in one step, in three. Errors:
// anchor_missing (one of them is not there), io_write.
Status exchange_folders(const std::string& a, const std::string& b);

}  // namespace fieldprint
