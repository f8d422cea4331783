#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

#include "core/check.h"
#include "store/fault_env.h"

namespace fieldprint {
namespace {

constexpr std::size_t kSectorBytes = 512;

std::vector<std::uint8_t> read_whole(const std::string& path) {
  std::error_code missing;
  const auto size = std::filesystem::file_size(path, missing);
  std::vector<std::uint8_t> bytes(missing ? 0 : size);
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<std::size_t>(file.gcount()));
  return bytes;
}

void write_whole(const std::string& path, const std::vector<std::uint8_t>& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  FP_CHECK(file.good());
}

}  // namespace

bool FaultDisk::operation(Fault* fault) {
  const std::uint64_t number = count_.fetch_add(1) + 1;
  const std::uint64_t at = fail_at_.load();
  const bool hit = at != 0 && (span_.load() == FaultSpan::kOnce ? number == at : number >= at);
  if (!hit) return false;
  faults_.fetch_add(1);
  *fault = fault_.load();
  return true;
}

void FaultDisk::fail_at(std::uint64_t operation, Fault fault, FaultSpan span) {
  fault_ = fault;
  span_ = span;
  count_ = 0;
  faults_ = 0;
  fail_at_ = operation;
}

void FaultDisk::heal() { fail_at_ = 0; }

void FaultDisk::created(const std::string& path) {
  const std::lock_guard lock(mutex_);
  auto& inode = current_[path];
  if (inode == nullptr) inode = std::make_shared<Inode>();
}

void FaultDisk::synced(const std::string& path) {
  const std::lock_guard lock(mutex_);
  const auto found = current_.find(path);
  if (found != current_.end()) found->second->synced = read_whole(path);
}

void FaultDisk::renamed(const std::string& from, const std::string& to) {
  const std::lock_guard lock(mutex_);
  const auto found = current_.find(from);
  FP_CHECK(found != current_.end());
  current_[to] = found->second;
  current_.erase(found);
}

void FaultDisk::removed(const std::string& path) {
  const std::lock_guard lock(mutex_);
  current_.erase(path);
  current_dirs_.erase(path);
}

void FaultDisk::made_dir(const std::string& path) {
  const std::lock_guard lock(mutex_);
  current_dirs_.insert(path);
}

void FaultDisk::synced_dir(const std::string& path) {
  const std::lock_guard lock(mutex_);
  const auto inside = [&path](const std::string& name) { return parent_dir(name) == path; };
  std::erase_if(durable_, [&](const auto& item) { return inside(item.first); });
  for (const auto& [name, inode] : current_)
    if (inside(name)) durable_[name] = inode;
  std::erase_if(durable_dirs_, inside);
  std::copy_if(current_dirs_.begin(), current_dirs_.end(),
               std::inserter(durable_dirs_, durable_dirs_.end()), inside);
}

void FaultDisk::name_synced(const std::string& path) {
  const std::lock_guard lock(mutex_);
  const auto found = current_.find(path);
  if (found == current_.end())
    durable_.erase(path);
  else
    durable_[path] = found->second;
}

std::vector<std::uint8_t> FaultDisk::survivor(const std::vector<std::uint8_t>& synced,
                                              const std::vector<std::uint8_t>& written,
                                              Survival survival, std::mt19937_64& random) {
  if (survival == Survival::kSyncedOnly) return synced;
  if (survival == Survival::kAll) return written;
  std::vector<std::uint8_t> bytes = random() % 2 == 0 ? synced : written;  // the size
  const std::size_t both = std::min(synced.size(), written.size());
  for (std::size_t at = 0; at < bytes.size(); at += kSectorBytes) {
    const std::size_t end = std::min(at + kSectorBytes, bytes.size());
    if (end > both) continue;  // only one of the two has this sector
    const std::vector<std::uint8_t>& from = random() % 2 == 0 ? synced : written;
    std::copy(from.begin() + at, from.begin() + end, bytes.begin() + at);
  }
  return bytes;
}

void FaultDisk::lose_power(Survival survival, std::uint64_t seed) {
  const std::lock_guard lock(mutex_);
  if (survival == Survival::kAll) return;
  std::mt19937_64 random(seed);
  std::map<std::shared_ptr<Inode>, std::vector<std::uint8_t>> written;
  for (const auto& [name, inode] : current_) written[inode] = read_whole(name);
  Names names = durable_;
  std::set<std::string> dirs = durable_dirs_;
  if (survival == Survival::kRandom) {
    for (const auto& [name, inode] : current_)
      if (random() % 2 == 0) names[name] = inode;
    for (const auto& [name, inode] : durable_)
      if (current_.count(name) == 0 && random() % 2 == 0) names.erase(name);
    for (const std::string& dir : current_dirs_)
      if (random() % 2 == 0) dirs.insert(dir);
  }
  for (const auto& entry : std::filesystem::directory_iterator(root_))
    std::filesystem::remove_all(entry.path());
  std::erase_if(dirs, [&](const std::string& dir) {  // sorted: parents come first
    return parent_dir(dir) != root_ && dirs.count(parent_dir(dir)) == 0;
  });
  for (const std::string& dir : dirs) std::filesystem::create_directory(dir);
  std::erase_if(names, [&](const auto& item) {
    return parent_dir(item.first) != root_ && dirs.count(parent_dir(item.first)) == 0;
  });
  for (auto& [name, inode] : names) {
    const auto found = written.find(inode);
    const auto bytes = found == written.end()
                           ? inode->synced
                           : survivor(inode->synced, found->second, survival, random);
    write_whole(name, bytes);
    inode->synced = bytes;
  }
  current_ = durable_ = names;
  current_dirs_ = durable_dirs_ = dirs;
}

}  // namespace fieldprint
