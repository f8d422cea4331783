#include <unistd.h>

#include <atomic>

#include "store/env.h"

namespace fieldprint {
namespace {

// Several processes may write the same file at once; each under a name of its own.
std::string temporary_name(const std::string& path) {
  static std::atomic<std::uint64_t> counter{0};
  return path + ".tmp" + std::to_string(::getpid()) + "-" + std::to_string(counter.fetch_add(1));
}

Status write_and_sync(Env& env, const std::string& path, std::span<const std::uint8_t> bytes) {
  FP_ASSIGN(const std::unique_ptr<WritableFile> file, env.create_file(path));
  FP_TRY(file->append(bytes));
  return file->sync();
}

}  // namespace

std::string parent_dir(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Status DurableWriter::make_parents(const std::string& path) {
  const std::string dir = parent_dir(path);
  if (known_dirs_.count(dir) != 0) return {};
  Result<bool> made = env_.make_dir(dir);
  if (!made && made.error().code == "file_missing") {
    FP_TRY(make_parents(dir));
    made = env_.make_dir(dir);
  }
  if (!made) return tl::unexpected(made.error());
  // A folder found is not known to be durable: its maker may have been cut off before the sync.
  unsynced_dirs_.insert(parent_dir(dir));
  known_dirs_.insert(dir);
  return {};
}

Status DurableWriter::write(const std::string& path, std::span<const std::uint8_t> bytes) {
  FP_TRY(make_parents(path));
  const std::string temporary = temporary_name(path);
  Status done = write_and_sync(env_, temporary, bytes);
  if (done) done = env_.rename_file(temporary, path);
  if (!done) {
    (void)env_.remove_file(temporary);  // best effort; the first error is the one that counts
    return done;
  }
  unsynced_dirs_.insert(parent_dir(path));
  return {};
}

Status DurableWriter::finish() {
  for (const std::string& dir : unsynced_dirs_) FP_TRY(env_.sync_dir(dir));
  unsynced_dirs_.clear();
  return {};
}

Status write_file_durably(Env& env, const std::string& path, std::string_view bytes) {
  DurableWriter writer(env);
  FP_TRY(writer.write(path, {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}));
  return writer.finish();
}

Status make_dirs_durably(Env& env, const std::string& path) {
  Result<bool> made = env.make_dir(path);
  if (!made && made.error().code == "file_missing" && parent_dir(path) != path) {
    FP_TRY(make_dirs_durably(env, parent_dir(path)));
    made = env.make_dir(path);
  }
  if (!made) return tl::unexpected(made.error());
  return *made ? env.sync_dir(parent_dir(path)) : Status{};
}

}  // namespace fieldprint
