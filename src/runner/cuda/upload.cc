#include "runner/cuda/upload.h"

#include <ggml.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "runner/cuda/status.h"

namespace fieldprint::cuda {
namespace {

constexpr std::size_t kHalfBytes = std::size_t{32} << 20;
constexpr int kMostThreads = 16;

// Rows of a tensor, contiguous in the file.
struct Rows {
  const std::byte* from = nullptr;
  ggml_type type = GGML_TYPE_F32;
  std::int64_t count = 0;
  std::int64_t columns = 0;
};

void convert(const Rows& rows, ggml_bf16_t* to) {
  const std::size_t row_bytes = ggml_row_size(rows.type, rows.columns);
  if (rows.type == GGML_TYPE_BF16) {
    std::memcpy(to, rows.from, row_bytes * static_cast<std::size_t>(rows.count));
    return;
  }
  const auto* traits = ggml_get_type_traits(rows.type);
  std::vector<float> floats(static_cast<std::size_t>(rows.columns));
  for (std::int64_t r = 0; r < rows.count; ++r) {
    const std::byte* from = rows.from + static_cast<std::size_t>(r) * row_bytes;
    const float* values = reinterpret_cast<const float*>(from);
    if (rows.type != GGML_TYPE_F32) {
      traits->to_float(from, floats.data(), rows.columns);
      values = floats.data();
    }
    ggml_fp32_to_bf16_row(values, to + r * rows.columns, rows.columns);
  }
}

void convert_in_threads(const Rows& rows, ggml_bf16_t* to, int threads) {
  std::vector<std::jthread> workers;
  for (int i = 0; i < threads; ++i) {
    const std::int64_t begin = rows.count * i / threads;
    const std::int64_t end = rows.count * (i + 1) / threads;
    if (begin == end) continue;
    Rows part = rows;
    part.from += static_cast<std::size_t>(begin) * ggml_row_size(rows.type, rows.columns);
    part.count = end - begin;
    workers.emplace_back([part, to, begin] { convert(part, to + begin * part.columns); });
  }
}

}  // namespace

Result<Uploader> Uploader::create() {
  Uploader made;
  FP_ASSIGN(made.stream_, Stream::create());
  for (Half& half : made.halves_) {
    FP_ASSIGN(half.memory, PinnedBuffer::allocate(kHalfBytes, "loading weights"));
    FP_ASSIGN(half.free, Event::create());
  }
  made.threads_ =
      std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, kMostThreads);
  return made;
}

Result<Uploader::Half*> Uploader::next_half() {
  Half& half = halves_[next_];
  next_ = 1 - next_;
  FP_TRY(check(cudaEventSynchronize(half.free.get()), "loading weights"));
  return &half;
}

Status Uploader::matrix(const GgufTensor& from, void* to, int row_step) {
  const auto type = static_cast<ggml_type>(from.ggml_type);
  const bool plain = type == GGML_TYPE_F32 || type == GGML_TYPE_BF16;
  if (!plain && ggml_get_type_traits(type)->to_float == nullptr) {
    return fail(ErrorKind::kUnsupported, "model_unsupported",
                "tensor " + from.name + " has a type that cannot be converted to bf16");
  }
  const std::int64_t columns = from.shape[0];
  const std::size_t row_bytes = static_cast<std::size_t>(columns) * sizeof(ggml_bf16_t);
  const auto per_half = static_cast<std::int64_t>(kHalfBytes / row_bytes);
  for (std::int64_t row = 0; row < from.shape[1]; row += per_half) {
    FP_ASSIGN(Half * half, next_half());
    const std::int64_t count = std::min(per_half, from.shape[1] - row);
    const Rows rows{from.data + static_cast<std::size_t>(row) * ggml_row_size(type, columns), type,
                    count, columns};
    convert_in_threads(rows, half->memory.as<ggml_bf16_t>(), threads_);
    const std::size_t step = row_bytes * static_cast<std::size_t>(row_step);
    FP_TRY(check(
        cudaMemcpy2DAsync(static_cast<std::byte*>(to) + static_cast<std::size_t>(row) * step, step,
                          half->memory.data(), row_bytes, row_bytes,
                          static_cast<std::size_t>(count), cudaMemcpyHostToDevice, stream_.get()),
        "loading weights"));
    FP_TRY(check(cudaEventRecord(half->free.get(), stream_.get()), "loading weights"));
  }
  return {};
}

Status Uploader::vector(const GgufTensor& from, float* to) {
  return check(cudaMemcpy(to, from.data, from.bytes, cudaMemcpyHostToDevice), "loading weights");
}

Status Uploader::finish() { return check(cudaStreamSynchronize(stream_.get()), "loading weights"); }

}  // namespace fieldprint::cuda
