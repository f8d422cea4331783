#include "model/gguf.h"

#include <fcntl.h>
#include <ggml.h>
#include <gguf.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>

namespace fieldprint {
namespace {

constexpr std::uint32_t kMinVersion = 2;
constexpr std::uint32_t kMaxVersion = 3;
constexpr std::size_t kHeaderBytes = 24;  // magic, version, tensor count, key count

Status check_header(const std::string& path, const std::byte* base, std::size_t bytes) {
  if (bytes < 4 || std::memcmp(base, "GGUF", 4) != 0) {
    return fail(ErrorKind::kInvalid, "gguf_bad_magic",
                path + " is not a GGUF file (wrong magic); give a .gguf model file");
  }
  if (bytes < kHeaderBytes) {
    return fail(ErrorKind::kCorrupt, "gguf_truncated",
                path + " ends inside its header; download the model again");
  }
  std::uint32_t version = 0;
  std::memcpy(&version, base + 4, sizeof version);
  if (version < kMinVersion || version > kMaxVersion) {
    return fail(ErrorKind::kUnsupported, "gguf_version",
                path + " has GGUF version " + std::to_string(version) +
                    "; versions 2 and 3 are supported: convert the model again");
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<GgufFile>> GgufFile::open(const std::string& path) {
  std::unique_ptr<GgufFile> file(new GgufFile());
  FP_TRY(file->map(path));
  FP_TRY(check_header(path, file->base_, file->bytes_));
  FP_TRY(file->parse());
  FP_TRY(file->index_tensors());
  return file;
}

GgufFile::~GgufFile() {
  if (gguf_ != nullptr) gguf_free(gguf_);
  if (meta_ != nullptr) ggml_free(meta_);
  if (base_ != nullptr) munmap(const_cast<std::byte*>(base_), bytes_);
}

Status GgufFile::map(const std::string& path) {
  path_ = path;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return fail(ErrorKind::kNotFound, "model_missing",
                "cannot open model " + path + ": " + std::strerror(errno));
  }
  struct stat info {};
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    return fail(ErrorKind::kNotFound, "model_missing", path + " is not a regular file");
  }
  bytes_ = static_cast<std::size_t>(info.st_size);
  if (bytes_ == 0) {
    ::close(fd);
    return fail(ErrorKind::kInvalid, "gguf_bad_magic", path + " is empty; give a .gguf model file");
  }
  void* mapped = mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE, fd, 0);
  ::close(fd);
  if (mapped == MAP_FAILED) {
    return fail(ErrorKind::kIo, "io_mmap", "cannot map " + path + ": " + std::strerror(errno));
  }
  base_ = static_cast<const std::byte*>(mapped);
  return {};
}

// ggml's parser reads the metadata; its own messages go to the log callback.
Status GgufFile::parse() {
  try {
    gguf_init_params params{};
    params.no_alloc = true;
    params.ctx = &meta_;
    gguf_ = gguf_init_from_file(path_.c_str(), params);
  } catch (const std::exception& error) {
    return fail(
        ErrorKind::kCorrupt, "gguf_corrupt",
        path_ + " has impossible metadata (" + error.what() + "); download the model again");
  }
  if (gguf_ == nullptr) {
    return fail(ErrorKind::kCorrupt, "gguf_truncated",
                path_ + " has damaged or cut-off metadata; download the model again");
  }
  return {};
}

Status GgufFile::index_tensors() {
  const std::size_t data_offset = gguf_get_data_offset(gguf_);
  const std::int64_t count = gguf_get_n_tensors(gguf_);
  tensors_.reserve(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    GgufTensor tensor;
    tensor.name = gguf_get_tensor_name(gguf_, i);
    tensor.ggml_type = gguf_get_tensor_type(gguf_, i);
    tensor.bytes = gguf_get_tensor_size(gguf_, i);
    const ggml_tensor* meta = ggml_get_tensor(meta_, tensor.name.c_str());
    if (meta == nullptr) {
      return fail(ErrorKind::kCorrupt, "gguf_corrupt", path_ + " lists a tensor without a shape");
    }
    std::copy(std::begin(meta->ne), std::end(meta->ne), tensor.shape.begin());
    const std::size_t offset = gguf_get_tensor_offset(gguf_, i);
    const bool fits = data_offset <= bytes_ && offset <= bytes_ - data_offset &&
                      tensor.bytes <= bytes_ - data_offset - offset;
    if (!fits) {
      return fail(ErrorKind::kCorrupt, "gguf_truncated",
                  path_ + " is cut off: tensor " + tensor.name + " ends past the file's " +
                      std::to_string(bytes_) + " bytes; download the model again");
    }
    tensor.data = base_ + data_offset + offset;
    tensors_.push_back(std::move(tensor));
  }
  std::sort(tensors_.begin(), tensors_.end(),
            [](const GgufTensor& a, const GgufTensor& b) { return a.name < b.name; });
  return {};
}

std::optional<std::int64_t> GgufFile::integer(const std::string& key) const {
  const std::int64_t id = gguf_find_key(gguf_, key.c_str());
  if (id < 0) return std::nullopt;
  switch (static_cast<int>(gguf_get_kv_type(gguf_, id))) {
    case GGUF_TYPE_UINT8:
      return gguf_get_val_u8(gguf_, id);
    case GGUF_TYPE_INT8:
      return gguf_get_val_i8(gguf_, id);
    case GGUF_TYPE_UINT16:
      return gguf_get_val_u16(gguf_, id);
    case GGUF_TYPE_INT16:
      return gguf_get_val_i16(gguf_, id);
    case GGUF_TYPE_UINT32:
      return gguf_get_val_u32(gguf_, id);
    case GGUF_TYPE_INT32:
      return gguf_get_val_i32(gguf_, id);
    case GGUF_TYPE_INT64:
      return gguf_get_val_i64(gguf_, id);
    case GGUF_TYPE_UINT64: {
      const std::uint64_t value = gguf_get_val_u64(gguf_, id);
      if (value > static_cast<std::uint64_t>(INT64_MAX)) return std::nullopt;
      return static_cast<std::int64_t>(value);
    }
    default:
      return std::nullopt;  // another type: not an integer
  }
}

std::optional<double> GgufFile::real(const std::string& key) const {
  const std::int64_t id = gguf_find_key(gguf_, key.c_str());
  if (id < 0) return std::nullopt;
  if (gguf_get_kv_type(gguf_, id) == GGUF_TYPE_FLOAT32) return gguf_get_val_f32(gguf_, id);
  if (gguf_get_kv_type(gguf_, id) == GGUF_TYPE_FLOAT64) return gguf_get_val_f64(gguf_, id);
  return std::nullopt;
}

std::optional<std::string> GgufFile::text(const std::string& key) const {
  const std::int64_t id = gguf_find_key(gguf_, key.c_str());
  if (id < 0 || gguf_get_kv_type(gguf_, id) != GGUF_TYPE_STRING) return std::nullopt;
  return std::string(gguf_get_val_str(gguf_, id));
}

std::optional<bool> GgufFile::boolean(const std::string& key) const {
  const std::int64_t id = gguf_find_key(gguf_, key.c_str());
  if (id < 0 || gguf_get_kv_type(gguf_, id) != GGUF_TYPE_BOOL) return std::nullopt;
  return gguf_get_val_bool(gguf_, id);
}

bool GgufFile::has(const std::string& key) const { return gguf_find_key(gguf_, key.c_str()) >= 0; }

std::size_t GgufFile::array_size(const std::string& key) const {
  const std::int64_t id = gguf_find_key(gguf_, key.c_str());
  if (id < 0 || gguf_get_kv_type(gguf_, id) != GGUF_TYPE_ARRAY) return 0;
  return gguf_get_arr_n(gguf_, id);
}

const GgufTensor* GgufFile::tensor(const std::string& name) const {
  const auto it =
      std::lower_bound(tensors_.begin(), tensors_.end(), name,
                       [](const GgufTensor& t, const std::string& n) { return t.name < n; });
  return it != tensors_.end() && it->name == name ? &*it : nullptr;
}

void GgufFile::release_pages() const {
  madvise(const_cast<std::byte*>(base_), bytes_, MADV_DONTNEED);
}

}  // namespace fieldprint
