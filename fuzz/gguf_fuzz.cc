// A model file from a stranger: metadata and tensor table. What is accepted lies inside the file,
// and every accessor may be asked for every key.
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "core/check.h"
#include "fuzz/input.h"
#include "model/config.h"
#include "model/gguf.h"

namespace {

// The file exists in memory only; GgufFile wants a path.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes) : fd_(memfd_create("gguf", MFD_CLOEXEC)) {
    FP_CHECK(fd_ >= 0);
    FP_CHECK(::write(fd_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }
  ~MemoryFile() { ::close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const MemoryFile memory(fuzz_text(data, size));
  const auto file = fieldprint::GgufFile::open(memory.path());
  if (!file) {
    FP_CHECK(!file.error().code.empty());
    return 0;
  }
  volatile unsigned touched = 0;
  for (const fieldprint::GgufTensor& tensor : (*file)->tensors()) {
    if (tensor.bytes == 0) continue;
    touched = touched + static_cast<unsigned>(tensor.data[0]);  // the sanitizer sees a byte outside
    touched = touched + static_cast<unsigned>(tensor.data[tensor.bytes - 1]);
  }
  for (const char* key : {"general.architecture", "general.alignment", "general.name",
                          "llama.block_count", "tokenizer.ggml.tokens"}) {
    (void)(*file)->integer(key);
    (void)(*file)->real(key);
    (void)(*file)->text(key);
    (void)(*file)->boolean(key);
    (void)(*file)->array_size(key);
  }
  const auto config = fieldprint::read_config(**file);
  FP_CHECK(config.has_value() || !config.error().code.empty());
  return 0;
}
