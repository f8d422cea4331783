#include "provenance/trust_folder.h"

#include <algorithm>
#include <charconv>

#include "codec/base64.h"

namespace fieldprint {
namespace {

constexpr std::size_t kSeenMaxBytes = 128;

std::string newest_path(const std::string& dir) { return dir + "/root.json"; }
std::string version_path(const std::string& dir, std::int64_t version) {
  return dir + "/roots/" + std::to_string(version) + ".json";
}
std::string seen_path(const TrustFolder& folder) { return folder.dir + "/seen"; }

Result<std::string> read_text(Env& env, const std::string& path, std::size_t limit) {
  FP_ASSIGN(const std::vector<std::uint8_t> bytes, env.read_file(path, limit));
  return std::string(bytes.begin(), bytes.end());
}

tl::unexpected<Error> seen_invalid(const std::string& path) {
  return fail(ErrorKind::kCorrupt, "trust_seen_invalid",
              path +
                  " is not a tree head; it says which history of the ledger was seen, so it "
                  "is not made up anew: restore it, or remove it if you know that it is gone");
}

}  // namespace

Result<TrustFolder> open_trust_folder(Env& env, const std::string& dir) {
  FP_ASSIGN(const bool there, env.exists(newest_path(dir)));
  if (!there) {
    return fail(ErrorKind::kNotFound, "trust_missing",
                "there is no trust root in " + dir + "; 'fieldprint anchor init' makes one");
  }
  FP_ASSIGN(const std::string newest, read_text(env, newest_path(dir), kRootMaxEnvelope));
  FP_ASSIGN(SignedRoot last, open_root(newest));
  TrustFolder folder{dir, last, last};
  if (last.root.version == 1) return folder;
  for (std::int64_t version = 1; version < last.root.version; ++version) {
    const std::string path = version_path(dir, version);
    FP_ASSIGN(const bool kept, env.exists(path));
    if (!kept) {
      return fail(ErrorKind::kCorrupt, "trust_incomplete",
                  path + " is missing: the way from the first trust root to version " +
                      std::to_string(last.root.version) + " cannot be checked");
    }
    FP_ASSIGN(const std::string text, read_text(env, path, kRootMaxEnvelope));
    if (version == 1) {
      FP_ASSIGN(folder.genesis, open_root(text));
      folder.newest = folder.genesis;
    } else {
      FP_ASSIGN(folder.newest, open_successor(folder.newest, text));
    }
  }
  FP_ASSIGN(folder.newest, open_successor(folder.newest, newest));
  return folder;
}

Result<TrustFolder> create_trust_folder(Env& env, const std::string& dir,
                                        const std::string& root_envelope) {
  FP_ASSIGN(const SignedRoot root, open_root(root_envelope));
  FP_ASSIGN(const bool there, env.exists(newest_path(dir)));
  if (there) {
    return fail(ErrorKind::kInvalid, "trust_exists",
                dir + " has a trust root already; nothing was changed");
  }
  FP_TRY(make_dirs_durably(env, dir));
  FP_TRY(write_file_durably(env, newest_path(dir), root_envelope));
  return TrustFolder{dir, root, root};
}

Status save_successor(Env& env, TrustFolder& folder, const std::string& root_envelope) {
  FP_ASSIGN(const SignedRoot next, open_successor(folder.newest, root_envelope));
  FP_TRY(make_dirs_durably(env, folder.dir + "/roots"));
  FP_TRY(write_file_durably(env, version_path(folder.dir, folder.newest.root.version),
                            folder.newest.envelope));
  FP_TRY(write_file_durably(env, newest_path(folder.dir), root_envelope));
  folder.newest = next;
  return {};
}

Result<std::optional<SeenHead>> load_seen_head(Env& env, const TrustFolder& folder) {
  const std::string path = seen_path(folder);
  FP_ASSIGN(const bool there, env.exists(path));
  if (!there) return std::optional<SeenHead>();
  FP_ASSIGN(const std::string text, read_text(env, path, kSeenMaxBytes));
  const std::size_t line = text.find('\n');
  if (line == std::string::npos || !text.ends_with('\n')) return seen_invalid(path);
  SeenHead head;
  const char* const end = text.data() + line;
  const auto [stop, failure] = std::from_chars(text.data(), end, head.size);
  const auto root = base64_decode(
      std::string_view(text).substr(line + 1, text.size() - std::min(line + 2, text.size())));
  if (failure != std::errc{} || stop != end || !root || root->size() != head.root.size()) {
    return seen_invalid(path);
  }
  std::copy(root->begin(), root->end(), head.root.begin());
  return std::optional<SeenHead>(head);
}

Status save_seen_head(Env& env, const TrustFolder& folder, const SeenHead& head) {
  FP_ASSIGN(const std::optional<SeenHead> before, load_seen_head(env, folder));
  if (before && before->size >= head.size) return {};
  return write_file_durably(
      env, seen_path(folder),
      std::to_string(head.size) + "\n" + base64_encode(std::span(head.root)) + "\n");
}

}  // namespace fieldprint
