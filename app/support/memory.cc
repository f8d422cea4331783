#include "app/support/memory.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "app/support/format.h"

namespace fieldprint::app {
namespace {

namespace fs = std::filesystem;

std::string first_line(const fs::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line;
}

std::int64_t bytes_of(const std::string& text) {  // -1: not a number
  std::int64_t value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : -1;
}

// File pages the group is charged for and the kernel gives back when asked.
std::int64_t reclaimable(const fs::path& group) {
  std::ifstream file(group / "memory.stat");
  for (std::string line; std::getline(file, line);) {
    long long bytes = 0;
    if (std::sscanf(line.c_str(), "inactive_file %lld", &bytes) == 1) return bytes;
  }
  return 0;
}

// The tightest limit from the process's own group up to the root. Inside a container the
// path of the line may lie outside what is mounted; then only the mounted root is read.
std::int64_t control_group_left() {
  const std::string line = first_line("/proc/self/cgroup");  // "0::/path" under version 2
  if (line.rfind("0::/", 0) != 0) return -1;
  const fs::path root = "/sys/fs/cgroup";
  fs::path group = root / line.substr(4);
  std::int64_t least = -1;
  for (;;) {
    const std::int64_t left = group_memory_left(
        first_line(group / "memory.max"), first_line(group / "memory.current"), reclaimable(group));
    if (left >= 0) least = least < 0 ? left : std::min(least, left);
    if (group == root || !group.has_relative_path() || group == group.parent_path()) break;
    group = group.parent_path();
  }
  return least;
}

std::int64_t machine_left() {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    long long kilobytes = 0;
    if (std::sscanf(line.c_str(), "MemAvailable: %lld kB", &kilobytes) == 1)
      return kilobytes * 1024;
  }
  return 0;
}

}  // namespace

std::int64_t group_memory_left(const std::string& limit, const std::string& current,
                               std::int64_t reclaimable_bytes) {
  const std::int64_t most = bytes_of(limit);
  const std::int64_t used = bytes_of(current);
  if (most < 0 || used < 0) return -1;
  return std::max<std::int64_t>(most - used + reclaimable_bytes, 0);
}

std::int64_t available_memory() {
  const std::int64_t machine = machine_left();
  const std::int64_t group = control_group_left();
  return group < 0 ? machine : std::min(machine, group);
}

Status check_memory(std::int64_t weight_bytes, std::int64_t kv_bytes,
                    std::int64_t available_bytes) {
  if (available_bytes <= 0 || weight_bytes + kv_bytes <= available_bytes) return {};
  const auto size = [](std::int64_t bytes) {
    return human_bytes(static_cast<std::uint64_t>(bytes));
  };
  return fail(ErrorKind::kExhausted, "memory_exhausted",
              "the model needs " + size(weight_bytes) + " for its weights and " + size(kv_bytes) +
                  " for the KV cache, but only " + size(available_bytes) +
                  " of memory are free; lower --kv-tokens or --context-length, take a smaller "
                  "model, or end other programs");
}

}  // namespace fieldprint::app
