// A GGUF file, memory-mapped read-only: metadata by key, tensors by name.
//
// Every tensor's bytes are checked to lie inside the file when it is opened, so
// data() needs no further checks. Thread rule: immutable after open().
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"

struct gguf_context;
struct ggml_context;

namespace fieldprint {

struct GgufTensor {
  std::string name;
  int ggml_type = 0;                    // enum ggml_type
  std::array<std::int64_t, 4> shape{};  // innermost first, as GGUF stores it
  const std::byte* data = nullptr;      // into the mapping
  std::size_t bytes = 0;
};

class GgufFile {
 public:
  // Errors: model_missing, gguf_bad_magic, gguf_version, gguf_truncated,
  // gguf_corrupt, io_mmap.
  static Result<std::unique_ptr<GgufFile>> open(const std::string& path);
  ~GgufFile();
  GgufFile(const GgufFile&) = delete;
  GgufFile& operator=(const GgufFile&) = delete;

  const std::string& path() const { return path_; }
  std::size_t file_bytes() const { return bytes_; }

  // nullopt when the key is absent or of another type.
  std::optional<std::int64_t> integer(const std::string& key) const;
  std::optional<double> real(const std::string& key) const;
  std::optional<std::string> text(const std::string& key) const;
  std::optional<bool> boolean(const std::string& key) const;
  bool has(const std::string& key) const;
  std::size_t array_size(const std::string& key) const;  // 0 when absent

  const GgufTensor* tensor(const std::string& name) const;  // nullptr when absent
  std::span<const GgufTensor> tensors() const { return tensors_; }

  // Tells the kernel that the mapped bytes are no longer needed (they stay readable).
  void release_pages() const;

 private:
  GgufFile() = default;
  Status map(const std::string& path);
  Status parse();
  Status index_tensors();

  std::string path_;
  const std::byte* base_ = nullptr;
  std::size_t bytes_ = 0;
  gguf_context* gguf_ = nullptr;
  ggml_context* meta_ = nullptr;
  std::vector<GgufTensor> tensors_;  // sorted by name
};

}  // namespace fieldprint
