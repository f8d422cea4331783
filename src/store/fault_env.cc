#include "store/fault_env.h"

#include <cerrno>
#include <utility>

#include "core/check.h"

namespace fieldprint {
namespace {

Status report(FaultDisk& disk, std::string_view action, const std::string& path) {
  Fault fault{};
  if (!disk.operation(&fault)) return {};
  switch (fault) {
    case Fault::kIoError:
      return tl::unexpected(system_error(EIO, action, path));
    case Fault::kDiskFull:
      return tl::unexpected(system_error(ENOSPC, action, path));
    case Fault::kReadOnly:
      return tl::unexpected(system_error(EROFS, action, path));
  }
  FP_UNREACHABLE();
}

class FaultFile : public WritableFile {
 public:
  FaultFile(std::unique_ptr<WritableFile> file, std::string path, FaultDisk* disk)
      : file_(std::move(file)), path_(std::move(path)), disk_(disk) {}

  Status append(std::span<const std::uint8_t> bytes) override {
    Status allowed = report(*disk_, "write", path_);
    if (allowed) return file_->append(bytes);
    FP_TRY(file_->append(bytes.first(bytes.size() / 2)));  // a write that fails may be torn
    return allowed;
  }

  Status sync() override {
    FP_TRY(report(*disk_, "sync", path_));
    FP_TRY(file_->sync());
    disk_->synced(path_);
    return {};
  }

 private:
  std::unique_ptr<WritableFile> file_;
  std::string path_;
  FaultDisk* disk_;
};

}  // namespace

FaultEnv::FaultEnv(const std::string& root) : disk_(std::make_unique<FaultDisk>(root)) {
  static std::atomic<int> counter{0};
  vfs_name_ = "fieldprint-fault-" + std::to_string(counter.fetch_add(1));
  register_fault_vfs(vfs_name_, disk_.get());
}

FaultEnv::~FaultEnv() { unregister_fault_vfs(vfs_name_); }

Status FaultEnv::attempt(std::string_view action, const std::string& path) {
  return report(*disk_, action, path);
}

Result<std::unique_ptr<WritableFile>> FaultEnv::create_file(const std::string& path) {
  FP_TRY(attempt("create", path));
  FP_ASSIGN(std::unique_ptr<WritableFile> file, Env::real().create_file(path));
  disk_->created(path);
  return std::make_unique<FaultFile>(std::move(file), path, disk_.get());
}

Result<std::vector<std::uint8_t>> FaultEnv::read_file(const std::string& path,
                                                      std::size_t max_bytes) {
  return Env::real().read_file(path, max_bytes);
}

Status FaultEnv::rename_file(const std::string& from, const std::string& to) {
  FP_TRY(attempt("rename to", to));
  FP_TRY(Env::real().rename_file(from, to));
  disk_->renamed(from, to);
  return {};
}

Status FaultEnv::remove_file(const std::string& path) {
  FP_TRY(attempt("remove", path));
  FP_TRY(Env::real().remove_file(path));
  disk_->removed(path);
  return {};
}

Status FaultEnv::remove_dir(const std::string& path) {
  FP_TRY(attempt("remove", path));
  FP_TRY(Env::real().remove_dir(path));
  disk_->removed(path);
  return {};
}

Result<bool> FaultEnv::make_dir(const std::string& path) {
  FP_TRY(attempt("make folder", path));
  FP_ASSIGN(const bool made, Env::real().make_dir(path));
  if (made) disk_->made_dir(path);
  return made;
}

Status FaultEnv::sync_dir(const std::string& path) {
  FP_TRY(attempt("sync folder", path));
  FP_TRY(Env::real().sync_dir(path));
  disk_->synced_dir(path);
  return {};
}

Result<bool> FaultEnv::exists(const std::string& path) { return Env::real().exists(path); }

Result<std::vector<std::string>> FaultEnv::list_dir(const std::string& path,
                                                    std::size_t max_names) {
  return Env::real().list_dir(path, max_names);
}

}  // namespace fieldprint
