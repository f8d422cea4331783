#include "anchor/artifact.h"

#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>

#include "anchor/document.h"
#include "anchor/files.h"
#include "anchor/safetensors.h"

namespace fieldprint {
namespace {

// Rows are written as they lie in memory.
static_assert(std::endian::native == std::endian::little);

const std::string kJsonFile = std::string("/") + kAnchorJsonName;
const std::string kTextFile = std::string("/") + kAnchorTextName;
const std::string kRowsFile = std::string("/") + kAnchorRowsName;
const std::string kSupervisionFile = std::string("/") + kAnchorSupervisionName;

constexpr std::size_t kReadPiece = std::size_t{256} << 10;

using Bytes = std::span<const std::uint8_t>;

Bytes text_bytes(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
template <typename T>
Bytes value_bytes(const std::vector<T>& values) {
  return {reinterpret_cast<const std::uint8_t*>(values.data()), values.size() * sizeof(T)};
}
template <typename Container>
std::span<std::uint8_t> writable_bytes(Container& values) {
  return {reinterpret_cast<std::uint8_t*>(values.data()), values.size() * sizeof(values[0])};
}

// A folder that is removed again unless it was renamed to its place.
class TemporaryFolder {
 public:
  static Result<TemporaryFolder> create(const std::string& beside) {
    std::string path = beside + ".tmp-XXXXXX";
    if (::mkdtemp(path.data()) == nullptr || ::chmod(path.c_str(), 0755) != 0) {
      return fail(ErrorKind::kIo, "io_write",
                  "cannot create a folder beside " + beside + ": " + std::strerror(errno));
    }
    return TemporaryFolder(std::move(path));
  }
  TemporaryFolder(TemporaryFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  TemporaryFolder& operator=(TemporaryFolder&&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;  // nothing more can be done about a leftover
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }
  void keep() { path_.clear(); }

 private:
  explicit TemporaryFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

std::string without_trailing_slash(std::string folder) {
  while (folder.size() > 1 && folder.back() == '/') folder.pop_back();
  return folder;
}

Result<std::string> read_whole(const std::string& path, std::uint64_t limit) {
  FP_ASSIGN(InputFile file, InputFile::open(path));
  if (file.size() > limit) {
    return fail(ErrorKind::kTooLarge, "anchor_too_large",
                path + " has " + std::to_string(file.size()) + " bytes, at most " +
                    std::to_string(limit) + " are read");
  }
  std::string text(static_cast<std::size_t>(file.size()), '\0');
  FP_TRY(file.read(writable_bytes(text)));
  return text;
}

tl::unexpected<Error> mismatch(const std::string& path) {
  return fail(ErrorKind::kCorrupt, "anchor_digest_mismatch",
              path + " is not the file anchor.json names (size or digest differ)");
}

Status load_text(const std::string& path, const AnchorDocument& document,
                 AnchorArtifact& artifact) {
  FP_ASSIGN(artifact.text, read_whole(path, kAnchorMaxText));
  if (artifact.text.size() != document.text.size ||
      digest_string(sha256(artifact.text)) != document.text.digest) {
    return mismatch(path);
  }
  return {};
}

Status load_supervision(const std::string& path, const AnchorDocument& document,
                        AnchorArtifact& artifact) {
  if (document.supervision.digest.empty()) {
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0) return {};
    return fail(ErrorKind::kForbidden, "anchor_unexpected_file",
                path +
                    " is not named by anchor.json, so nothing vouches for it; move it away, "
                    "'fieldprint anchor calibrate' makes one that is named");
  }
  FP_ASSIGN(artifact.supervision, read_whole(path, kAnchorMaxSupervision));
  if (artifact.supervision.size() != document.supervision.size ||
      digest_string(sha256(artifact.supervision)) != document.supervision.digest) {
    return mismatch(path);
  }
  return {};
}

tl::unexpected<Error> bad_rows(const std::string& path, const std::string& what) {
  return fail(ErrorKind::kCorrupt, "anchor_corrupt", path + ": " + what);
}

// Reads the container's header, leaving the file at the first tensor.
Result<SafetensorsHeader> load_rows_header(InputFile& file, const std::string& path, Sha256& hash) {
  std::vector<std::uint8_t> bytes(8);
  if (file.size() < bytes.size()) return bad_rows(path, "the file is too short");
  FP_TRY(file.read(bytes));
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof(length));
  if (length <= std::min<std::uint64_t>(kSafetensorsMaxHeader, file.size() - bytes.size())) {
    bytes.resize(bytes.size() + static_cast<std::size_t>(length));
    FP_TRY(file.read(std::span(bytes).subspan(8)));
  }
  auto header = parse_safetensors_header(bytes, file.size());
  if (!header) return bad_rows(path, header.error().message);
  hash.update(bytes);
  return header;
}

// Where a tensor of the file goes; nullopt if the artifact has no such tensor.
std::optional<std::span<std::uint8_t>> place_for(const TensorInfo& tensor,
                                                 AnchorArtifact& artifact) {
  std::vector<std::int64_t> shape = {artifact.layers, artifact.kv_heads, artifact.length()};
  if (tensor.name == "beta_fit") {
    if (tensor.type != TensorType::kF32 || tensor.shape != shape) return std::nullopt;
    artifact.beta_fit.resize(static_cast<std::size_t>(anchor_beta_elements(artifact)));
    return writable_bytes(artifact.beta_fit);
  }
  shape.push_back(artifact.head_dim);
  if (tensor.name != "k" && tensor.name != "v") return std::nullopt;
  if (tensor.type != TensorType::kBf16 || tensor.shape != shape) return std::nullopt;
  std::vector<std::uint16_t>& rows = tensor.name == "k" ? artifact.k : artifact.v;
  rows.resize(static_cast<std::size_t>(anchor_kv_elements(artifact)));
  return writable_bytes(rows);
}

// One pass over the file: what is hashed is what is kept.
Status load_rows(const std::string& path, const AnchorDocument& document,
                 AnchorArtifact& artifact) {
  FP_ASSIGN(InputFile file, InputFile::open(path));
  if (file.size() != document.rows.size) return mismatch(path);
  Sha256 hash;
  FP_ASSIGN(const SafetensorsHeader header, load_rows_header(file, path, hash));
  // Names are distinct and each must have a place, so three means all three.
  if (header.tensors.size() != 3) return bad_rows(path, "expected the tensors k, v and beta_fit");
  for (const TensorInfo& tensor : header.tensors) {
    const auto place = place_for(tensor, artifact);
    if (!place) {
      return bad_rows(path, "tensor '" + tensor.name +
                                "' is not one that anchor.json calls for (name, dtype or shape)");
    }
    // In pieces, so that what was read is hashed while it is still in the cache.
    for (std::size_t at = 0; at < place->size(); at += kReadPiece) {
      const auto piece = place->subspan(at, std::min(kReadPiece, place->size() - at));
      FP_TRY(file.read(piece));
      hash.update(piece);
    }
  }
  if (digest_string(hash.finish()) != document.rows.digest) return mismatch(path);
  return {};
}

// A folder beside `target` with all files of the artifact, synced.
Result<TemporaryFolder> write_beside(const std::string& target, const AnchorArtifact& artifact,
                                     const AnchorDocument& document) {
  FP_ASSIGN(const std::string json, print_anchor_json(document));
  const std::string header = anchor_rows_header(artifact);
  FP_ASSIGN(TemporaryFolder temporary, TemporaryFolder::create(target));
  FP_TRY(write_file_synced(temporary.path() + kTextFile, {text_bytes(artifact.text)}));
  FP_TRY(write_file_synced(temporary.path() + kRowsFile,
                           {text_bytes(header), value_bytes(artifact.k), value_bytes(artifact.v),
                            value_bytes(artifact.beta_fit)}));
  if (!artifact.supervision.empty()) {
    FP_TRY(
        write_file_synced(temporary.path() + kSupervisionFile, {text_bytes(artifact.supervision)}));
  }
  FP_TRY(write_file_synced(temporary.path() + kJsonFile, {text_bytes(json)}));
  FP_TRY(sync_folder(temporary.path()));
  return temporary;
}

Status sync_parent(const std::string& target) {
  const std::filesystem::path parent = std::filesystem::path(target).parent_path();
  return sync_folder(parent.empty() ? "." : parent.string());
}

}  // namespace

Status save_anchor(AnchorArtifact& artifact, const std::string& folder) {
  const std::string target = without_trailing_slash(folder);
  struct stat info {};
  if (::lstat(target.c_str(), &info) == 0) {
    return fail(ErrorKind::kInvalid, "anchor_exists",
                target + " exists already; choose another folder or remove it");
  }
  FP_ASSIGN(const AnchorDocument document, describe_anchor(artifact));
  FP_ASSIGN(TemporaryFolder temporary, write_beside(target, artifact, document));
  FP_TRY(rename_folder(temporary.path(), target));
  temporary.keep();
  FP_TRY(sync_parent(target));
  artifact.digest = document.head.digest;
  return {};
}

Status replace_anchor(AnchorArtifact& artifact, const std::string& folder) {
  const std::string target = without_trailing_slash(folder);
  FP_ASSIGN(const AnchorDocument document, describe_anchor(artifact));
  // After the exchange the temporary folder is the old anchor, and goes.
  FP_ASSIGN(const TemporaryFolder temporary, write_beside(target, artifact, document));
  FP_TRY(exchange_folders(temporary.path(), target));
  FP_TRY(sync_parent(target));
  artifact.digest = document.head.digest;
  return {};
}

Result<LoadedAnchor> load_anchor_files(const std::string& folder) {
  const std::string base = without_trailing_slash(folder);
  FP_ASSIGN(const std::string json, read_whole(base + kJsonFile, kAnchorMaxJson));
  FP_ASSIGN(const AnchorDocument document, parse_anchor_json(text_bytes(json)));
  LoadedAnchor loaded{document.head, document.text, document.rows, document.supervision};
  FP_TRY(load_text(base + kTextFile, document, loaded.artifact));
  FP_TRY(load_rows(base + kRowsFile, document, loaded.artifact));
  FP_TRY(load_supervision(base + kSupervisionFile, document, loaded.artifact));
  FP_TRY(check_anchor_values(loaded.artifact));
  return loaded;
}

Result<AnchorArtifact> load_anchor(const std::string& folder) {
  FP_ASSIGN(LoadedAnchor loaded, load_anchor_files(folder));
  return std::move(loaded.artifact);
}

}  // namespace fieldprint
