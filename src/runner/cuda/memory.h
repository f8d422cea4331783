// Owners of device memory, page-locked host memory, streams and events.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <string_view>
#include <utility>

#include "attention/cuda/cutter.h"
#include "core/error.h"

namespace fieldprint::cuda {

enum class MemoryKind : std::uint8_t { kDevice, kPinned };

// One allocation. Errors of allocate(): cuda_out_of_memory, naming `what` and its size.
template <MemoryKind kKind>
class Buffer {
 public:
  Buffer() = default;
  static Result<Buffer> allocate(std::size_t bytes, std::string_view what);
  ~Buffer() { release(); }
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  std::byte* data() const { return data_; }
  std::size_t size() const { return bytes_; }
  template <typename T>
  T* as(std::size_t offset = 0) const {
    return reinterpret_cast<T*>(data_ + offset);
  }
  void release();

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};
using DeviceBuffer = Buffer<MemoryKind::kDevice>;
using PinnedBuffer = Buffer<MemoryKind::kPinned>;

class Stream {
 public:
  Stream() = default;
  static Result<Stream> create();
  ~Stream();
  Stream(Stream&& other) noexcept : stream_(std::exchange(other.stream_, nullptr)) {}
  Stream& operator=(Stream&& other) noexcept {
    std::swap(stream_, other.stream_);
    return *this;
  }
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

// Marks a place in a stream; carries no time.
class Event {
 public:
  Event() = default;
  static Result<Event> create();
  ~Event();
  Event(Event&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
  Event& operator=(Event&& other) noexcept {
    std::swap(event_, other.event_);
    return *this;
  }
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace fieldprint::cuda
