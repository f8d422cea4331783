#include "runner/cuda/memory.h"

#include <string>

#include "runner/cuda/status.h"

namespace fieldprint::cuda {
namespace {

std::string size_text(std::size_t bytes) {
  constexpr std::size_t kMiB = std::size_t{1} << 20;
  return std::to_string((bytes + kMiB - 1) / kMiB) + " MiB";
}

}  // namespace

template <MemoryKind kKind>
Result<Buffer<kKind>> Buffer<kKind>::allocate(std::size_t bytes, std::string_view what) {
  Buffer buffer;
  void* data = nullptr;
  const cudaError_t error =
      kKind == MemoryKind::kDevice ? cudaMalloc(&data, bytes) : cudaMallocHost(&data, bytes);
  FP_TRY(check(error, "allocating " + size_text(bytes) +
                          (kKind == MemoryKind::kDevice ? "" : " of page-locked memory") + " for " +
                          std::string(what)));
  buffer.data_ = static_cast<std::byte*>(data);
  buffer.bytes_ = bytes;
  return buffer;
}

template <MemoryKind kKind>
void Buffer<kKind>::release() {
  if (data_ == nullptr) return;
  if constexpr (kKind == MemoryKind::kDevice) {
    cudaFree(data_);
  } else {
    cudaFreeHost(data_);
  }
  data_ = nullptr;
  bytes_ = 0;
}

template class Buffer<MemoryKind::kDevice>;
template class Buffer<MemoryKind::kPinned>;

Result<Stream> Stream::create() {
  Stream stream;
  FP_TRY(
      check(cudaStreamCreateWithFlags(&stream.stream_, cudaStreamNonBlocking), "making a stream"));
  return stream;
}

Stream::~Stream() {
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

Result<Event> Event::create() {
  Event event;
  FP_TRY(check(cudaEventCreateWithFlags(&event.event_, cudaEventDisableTiming), "making an event"));
  return event;
}

Event::~Event() {
  if (event_ != nullptr) cudaEventDestroy(event_);
}

}  // namespace fieldprint::cuda
