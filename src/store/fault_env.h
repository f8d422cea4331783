// For tests: an Env, with a matching SQLite VFS, over real files below one folder, that fails
// chosen calls and simulates a power cut by taking back whatever was not synced.
//
// Each call that changes something (create, write, sync, rename, remove, make folder, sync
// folder, truncate) is one operation, numbered from 1. Reads always work.
//
// What is not modelled: a disk that lies about sync, damage to bytes at rest, and order
// between unsynced writes (kRandom lets any subset of unsynced sectors and names survive).
//
// Thread rule: any thread. lose_power() only when no file and no database is open.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "store/env.h"

namespace fieldprint {

enum class Fault : std::uint8_t { kIoError, kDiskFull, kReadOnly };
enum class FaultSpan : std::uint8_t { kOnce, kFromThenOn };
enum class Survival : std::uint8_t {
  kSyncedOnly,  // everything unsynced is gone
  kRandom,      // of the unsynced sectors and names, any subset is on disk
  kAll,         // the process died, the machine did not
};

// What the disk would hold after a power cut. Shared by the Env and its VFS.
class FaultDisk {
 public:
  explicit FaultDisk(std::string root) : root_(std::move(root)) {}

  // Counts one operation; the fault that it must report, if any.
  bool operation(Fault* fault);
  void fail_at(std::uint64_t operation, Fault fault, FaultSpan span);
  void heal();
  std::uint64_t operations() const { return count_.load(); }
  std::uint64_t faults() const { return faults_.load(); }  // calls that were failed

  void created(const std::string& path);
  void synced(const std::string& path);
  void renamed(const std::string& from, const std::string& to);
  void removed(const std::string& path);
  void made_dir(const std::string& path);
  void synced_dir(const std::string& path);
  // SQLite syncs the folder itself after it made a WAL or journal.
  void name_synced(const std::string& path);
  void lose_power(Survival survival, std::uint64_t seed);

 private:
  struct Inode {
    std::vector<std::uint8_t> synced;
  };
  using Names = std::map<std::string, std::shared_ptr<Inode>>;
  static std::vector<std::uint8_t> survivor(const std::vector<std::uint8_t>& synced,
                                            const std::vector<std::uint8_t>& written,
                                            Survival survival, std::mt19937_64& random);

  const std::string root_;
  std::atomic<std::uint64_t> count_{0};
  std::atomic<std::uint64_t> faults_{0};
  std::atomic<std::uint64_t> fail_at_{0};  // 0: never
  std::atomic<Fault> fault_{Fault::kIoError};
  std::atomic<FaultSpan> span_{FaultSpan::kOnce};

  std::mutex mutex_;  // guards what follows
  Names current_;
  Names durable_;
  std::set<std::string> current_dirs_;
  std::set<std::string> durable_dirs_;
};

class FaultEnv : public Env {
 public:
  // `root`: an existing folder; every path must lie below it.
  explicit FaultEnv(const std::string& root);
  ~FaultEnv() override;
  FaultEnv(const FaultEnv&) = delete;
  FaultEnv& operator=(const FaultEnv&) = delete;

  FaultDisk& disk() { return *disk_; }
  void set_now_ms(std::int64_t now_ms) { now_ms_ = now_ms; }

  Result<std::unique_ptr<WritableFile>> create_file(const std::string& path) override;
  Result<std::vector<std::uint8_t>> read_file(const std::string& path,
                                              std::size_t max_bytes) override;
  Status rename_file(const std::string& from, const std::string& to) override;
  Status remove_file(const std::string& path) override;
  Status remove_dir(const std::string& path) override;
  Result<bool> make_dir(const std::string& path) override;
  Status sync_dir(const std::string& path) override;
  Result<bool> exists(const std::string& path) override;
  Result<std::vector<std::string>> list_dir(const std::string& path,
                                            std::size_t max_names) override;
  std::int64_t now_ms() override { return now_ms_; }
  std::string sqlite_vfs() const override { return vfs_name_; }

 private:
  Status attempt(std::string_view action, const std::string& path);

  std::unique_ptr<FaultDisk> disk_;
  std::string vfs_name_;
  std::atomic<std::int64_t> now_ms_{1'800'000'000'000};
};

// Registers a VFS over SQLite's default one that reports to `disk`; and takes it back.
void register_fault_vfs(const std::string& name, FaultDisk* disk);
void unregister_fault_vfs(const std::string& name);

}  // namespace fieldprint
