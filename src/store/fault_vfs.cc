// A SQLite VFS that passes everything to the default one and reports each change to a FaultDisk.
#include <sqlite3.h>

#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <new>

#include "core/check.h"
#include "store/fault_env.h"

namespace fieldprint {
namespace {

struct FaultVfs {
  sqlite3_vfs vfs{};
  std::string name;
  sqlite3_vfs* real = nullptr;
  FaultDisk* disk = nullptr;
};

// SQLite allocates szOsFile bytes: this, and the real VFS's file behind it.
struct FaultVfsFile {
  sqlite3_file base;
  FaultDisk* disk;
  const char* path;  // SQLite keeps the name as long as the file is open
  int flags;

  sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};

FaultVfsFile* ours(sqlite3_file* file) { return reinterpret_cast<FaultVfsFile*>(file); }
sqlite3_file* real(sqlite3_file* file) { return ours(file)->real(); }

int fault_code(Fault fault, int io_error) {
  switch (fault) {
    case Fault::kIoError:
      return io_error;
    case Fault::kDiskFull:
      return SQLITE_FULL;
    case Fault::kReadOnly:
      return SQLITE_READONLY;
  }
  FP_UNREACHABLE();
}

int file_close(sqlite3_file* file) { return real(file)->pMethods->xClose(real(file)); }

int file_read(sqlite3_file* file, void* out, int bytes, sqlite3_int64 offset) {
  return real(file)->pMethods->xRead(real(file), out, bytes, offset);
}

int file_write(sqlite3_file* file, const void* bytes, int size, sqlite3_int64 offset) {
  Fault fault{};
  const bool failed = ours(file)->disk->operation(&fault);
  const int written = failed ? size / 2 : size;  // a write that fails may be torn
  const int code = real(file)->pMethods->xWrite(real(file), bytes, written, offset);
  return failed ? fault_code(fault, SQLITE_IOERR_WRITE) : code;
}

int file_truncate(sqlite3_file* file, sqlite3_int64 size) {
  Fault fault{};
  if (ours(file)->disk->operation(&fault)) return fault_code(fault, SQLITE_IOERR_TRUNCATE);
  return real(file)->pMethods->xTruncate(real(file), size);
}

int file_sync(sqlite3_file* file, int flags) {
  Fault fault{};
  if (ours(file)->disk->operation(&fault)) return fault_code(fault, SQLITE_IOERR_FSYNC);
  const int code = real(file)->pMethods->xSync(real(file), flags);
  if (code != SQLITE_OK || ours(file)->path == nullptr) return code;
  ours(file)->disk->synced(ours(file)->path);
  if ((ours(file)->flags & SQLITE_OPEN_MAIN_DB) == 0)
    ours(file)->disk->name_synced(ours(file)->path);
  return code;
}

int file_size(sqlite3_file* file, sqlite3_int64* size) {
  return real(file)->pMethods->xFileSize(real(file), size);
}
int file_lock(sqlite3_file* file, int level) {
  return real(file)->pMethods->xLock(real(file), level);
}
int file_unlock(sqlite3_file* file, int level) {
  return real(file)->pMethods->xUnlock(real(file), level);
}
int file_check_lock(sqlite3_file* file, int* held) {
  return real(file)->pMethods->xCheckReservedLock(real(file), held);
}
int file_control(sqlite3_file* file, int operation, void* argument) {
  return real(file)->pMethods->xFileControl(real(file), operation, argument);
}
int file_sector(sqlite3_file* file) { return real(file)->pMethods->xSectorSize(real(file)); }
int file_traits(sqlite3_file* file) {
  return real(file)->pMethods->xDeviceCharacteristics(real(file));
}
int file_shm_map(sqlite3_file* file, int page, int size, int extend, void volatile** out) {
  return real(file)->pMethods->xShmMap(real(file), page, size, extend, out);
}
int file_shm_lock(sqlite3_file* file, int offset, int n, int flags) {
  return real(file)->pMethods->xShmLock(real(file), offset, n, flags);
}
void file_shm_barrier(sqlite3_file* file) { real(file)->pMethods->xShmBarrier(real(file)); }
int file_shm_unmap(sqlite3_file* file, int erase) {
  return real(file)->pMethods->xShmUnmap(real(file), erase);
}

// Version 2: with shared memory for WAL, without memory-mapped reads.
const sqlite3_io_methods kMethods = {
    2,           file_close,   file_read,     file_write,       file_truncate,  file_sync,
    file_size,   file_lock,    file_unlock,   file_check_lock,  file_control,   file_sector,
    file_traits, file_shm_map, file_shm_lock, file_shm_barrier, file_shm_unmap, nullptr,
    nullptr};

FaultVfs* ours(sqlite3_vfs* vfs) { return static_cast<FaultVfs*>(vfs->pAppData); }

int vfs_open(sqlite3_vfs* vfs, const char* path, sqlite3_file* file, int flags, int* out_flags) {
  FaultVfs* self = ours(vfs);
  auto* opened = new (file) FaultVfsFile{{nullptr}, self->disk, path, flags};
  int exists = 1;
  if (path != nullptr) self->real->xAccess(self->real, path, SQLITE_ACCESS_EXISTS, &exists);
  const bool creates = exists == 0 && (flags & SQLITE_OPEN_CREATE) != 0;
  Fault fault{};
  if (creates && self->disk->operation(&fault)) return fault_code(fault, SQLITE_CANTOPEN);
  const int code = self->real->xOpen(self->real, path, opened->real(), flags, out_flags);
  if (code != SQLITE_OK) return code;
  if (creates) self->disk->created(path);
  file->pMethods = &kMethods;
  return SQLITE_OK;
}

int vfs_delete(sqlite3_vfs* vfs, const char* path, int sync_folder) {
  FaultVfs* self = ours(vfs);
  Fault fault{};
  if (self->disk->operation(&fault)) return fault_code(fault, SQLITE_IOERR_DELETE);
  const int code = self->real->xDelete(self->real, path, sync_folder);
  if (code != SQLITE_OK) return code;
  self->disk->removed(path);
  if (sync_folder != 0) self->disk->name_synced(path);
  return SQLITE_OK;
}

int vfs_access(sqlite3_vfs* vfs, const char* path, int flags, int* out) {
  return ours(vfs)->real->xAccess(ours(vfs)->real, path, flags, out);
}
int vfs_full_path(sqlite3_vfs* vfs, const char* path, int size, char* out) {
  return ours(vfs)->real->xFullPathname(ours(vfs)->real, path, size, out);
}
int vfs_randomness(sqlite3_vfs* vfs, int size, char* out) {
  return ours(vfs)->real->xRandomness(ours(vfs)->real, size, out);
}
int vfs_sleep(sqlite3_vfs* vfs, int microseconds) {
  return ours(vfs)->real->xSleep(ours(vfs)->real, microseconds);
}
int vfs_time(sqlite3_vfs* vfs, double* out) {
  return ours(vfs)->real->xCurrentTime(ours(vfs)->real, out);
}
int vfs_last_error(sqlite3_vfs* vfs, int size, char* out) {
  return ours(vfs)->real->xGetLastError(ours(vfs)->real, size, out);
}
int vfs_time64(sqlite3_vfs* vfs, sqlite3_int64* out) {
  return ours(vfs)->real->xCurrentTimeInt64(ours(vfs)->real, out);
}

std::mutex registry_mutex;
std::map<std::string, std::unique_ptr<FaultVfs>>& registry() {
  static std::map<std::string, std::unique_ptr<FaultVfs>> vfs_by_name;
  return vfs_by_name;
}

}  // namespace

void register_fault_vfs(const std::string& name, FaultDisk* disk) {
  sqlite3_initialize();
  auto vfs = std::make_unique<FaultVfs>();
  vfs->name = name;
  vfs->real = sqlite3_vfs_find(nullptr);
  vfs->disk = disk;
  FP_CHECK(vfs->real != nullptr && vfs->real->iVersion >= 2);
  vfs->vfs.iVersion = 2;
  vfs->vfs.szOsFile = static_cast<int>(sizeof(FaultVfsFile)) + vfs->real->szOsFile;
  vfs->vfs.mxPathname = vfs->real->mxPathname;
  vfs->vfs.zName = vfs->name.c_str();
  vfs->vfs.pAppData = vfs.get();
  vfs->vfs.xOpen = vfs_open;
  vfs->vfs.xDelete = vfs_delete;
  vfs->vfs.xAccess = vfs_access;
  vfs->vfs.xFullPathname = vfs_full_path;
  vfs->vfs.xRandomness = vfs_randomness;
  vfs->vfs.xSleep = vfs_sleep;
  vfs->vfs.xCurrentTime = vfs_time;
  vfs->vfs.xGetLastError = vfs_last_error;
  vfs->vfs.xCurrentTimeInt64 = vfs_time64;
  FP_CHECK(sqlite3_vfs_register(&vfs->vfs, 0) == SQLITE_OK);
  const std::lock_guard lock(registry_mutex);
  registry()[name] = std::move(vfs);
}

void unregister_fault_vfs(const std::string& name) {
  const std::lock_guard lock(registry_mutex);
  const auto found = registry().find(name);
  FP_CHECK(found != registry().end());
  sqlite3_vfs_unregister(&found->second->vfs);
  registry().erase(found);
}

}  // namespace fieldprint
