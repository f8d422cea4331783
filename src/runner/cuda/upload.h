// Brings tensors from a GGUF file to the device as bf16.
#pragma once

#include <array>
#include <cstddef>

#include "core/error.h"
#include "model/gguf.h"
#include "runner/cuda/memory.h"

namespace fieldprint::cuda {

// Rows pass through two page-locked buffers: one is converted, by several threads, while the
// other travels.
class Uploader {
 public:
  static Result<Uploader> create();

  // Row r of the tensor goes to `to` + r * row_step rows. Returns before the copy is done;
  // finish() waits. Errors: model_unsupported, cuda_error.
  Status matrix(const GgufTensor& from, void* to, int row_step);
  Status vector(const GgufTensor& from, float* to);
  Status finish();

 private:
  struct Half {
    PinnedBuffer memory;
    Event free;
  };
  // The next half once its last copy is done.
  Result<Half*> next_half();

  Stream stream_;
  std::array<Half, 2> halves_;
  std::size_t next_ = 0;
  int threads_ = 1;
};

}  // namespace fieldprint::cuda
