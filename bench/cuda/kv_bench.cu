// The KV cache's kernels beside what a plain copy or a plain read of as many bytes takes.
//
//   attention_cuda_kv_bench [--out lines.jsonl] [--only substring]
//
// One line per (case, variant): {"case": ..., "variant": ..., "us": ..., "bytes": ...}, bytes
// read plus bytes written. Variants: ours, memcpy (the runtime's device-to-device copy, same
// bytes), read (a kernel that only reads). Medians over CUDA graph replays; buffers are far
// larger than the L2 cache wherever the case is about bandwidth.
#include <cuda_runtime.h>

#include <cstring>
#include <numeric>
#include <random>
#include <string>

#include "attention/cuda/kv_capi.h"
#include "bench_common.cuh"

namespace {

using fieldprint::bench::device_array;
using fieldprint::bench::fill_random;
using fieldprint::bench::time_us;
using fieldprint::bench::upload;

constexpr fp_attn_shape kShape{128, 32, 8, 16};
constexpr int kLayers = 32;
constexpr int kPages = 2304;  // times 64 KiB and 32 layers: 4.8 GB

std::FILE* out = nullptr;
const char* only = "";

void report(const std::string& name, const char* variant, double us, std::size_t bytes) {
  std::fprintf(out, "{\"case\": \"%s\", \"variant\": \"%s\", \"us\": %.3f, \"bytes\": %zu}\n",
               name.c_str(), variant, us, bytes);
  std::printf("%s %s %.1f us %.2f TB/s\n", name.c_str(), variant, us,
              static_cast<double>(bytes) / us * 1e-6);
  std::fflush(stdout);
}

fp_kv_cache make_cache() {
  fp_kv_cache cache{};
  cache.shape = kShape;
  cache.layers = kLayers;
  cache.pages = kPages;
  const std::size_t elements = std::size_t{kPages} * kShape.kv_heads * kShape.page_rows *
                               static_cast<std::size_t>(kShape.head_dim);
  for (int layer = 0; layer < kLayers; ++layer) {
    for (void** pool : {&cache.k[layer], &cache.v[layer]}) {
      auto* data = device_array<std::uint16_t>(elements);
      fill_random<<<1024, 256>>>(data, elements, static_cast<std::uint32_t>(layer));
      *pool = data;
    }
  }
  MUST(cudaDeviceSynchronize());
  return cache;
}

std::vector<int> shuffled_pages() {
  std::vector<int> ids(kPages);
  std::iota(ids.begin(), ids.end(), 0);
  std::shuffle(ids.begin(), ids.end(), std::mt19937(1));
  return ids;
}

// A launch moves `bytes` in all; half of them are the copy's length.
double memcpy_us(std::size_t bytes, int launches) {
  auto* from = device_array<unsigned char>(bytes / 2);
  auto* to = device_array<unsigned char>(bytes / 2);
  fill_random<<<1024, 256>>>(reinterpret_cast<std::uint16_t*>(from), bytes / 4, 7);
  const double us = time_us(launches, [&](int, cudaStream_t stream) {
    MUST(cudaMemcpyAsync(to, from, bytes / 2, cudaMemcpyDeviceToDevice, stream));
  });
  cudaFree(from);
  cudaFree(to);
  return us;
}

__global__ void __launch_bounds__(256)
    read_kernel(const uint4* data, std::size_t vectors, unsigned* sink) {
  unsigned mix = 0;
  const std::size_t stride = std::size_t{gridDim.x} * 256 * 8;
  for (std::size_t at = std::size_t{blockIdx.x} * 256 * 8 + threadIdx.x; at + 7 * 256 < vectors;
       at += stride) {
    uint4 x[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) x[i] = __ldcs(data + at + i * 256);
#pragma unroll
    for (const uint4& v : x) mix ^= v.x ^ v.y ^ v.z ^ v.w;
  }
  if (mix == 0x5EEDF00DU) *sink = mix;
}

double read_us(std::size_t bytes) {
  auto* data = device_array<unsigned char>(bytes);
  fill_random<<<1024, 256>>>(reinterpret_cast<std::uint16_t*>(data), bytes / 2, 8);
  auto* sink = device_array<unsigned>(1);
  const double us = time_us(4, [&](int, cudaStream_t stream) {
    read_kernel<<<132 * 8, 256, 0, stream>>>(reinterpret_cast<const uint4*>(data), bytes / 16,
                                             sink);
  });
  cudaFree(data);
  cudaFree(sink);
  return us;
}

// `tokens` new tokens, one after the other in sequences of `each`; layers take turns.
void append_case(const std::string& name, const fp_kv_cache& cache, int tokens, int each,
                 int style) {
  const std::vector<int> ids = shuffled_pages();
  std::vector<std::uint32_t> pages;
  std::vector<std::int32_t> counts, sequences, slots, positions;
  const int page_stride = (each + kShape.page_rows - 1) / kShape.page_rows;
  for (int s = 0; s < tokens / each; ++s) {
    counts.push_back(page_stride);
    for (int p = 0; p < page_stride; ++p) {
      const auto id = static_cast<std::uint32_t>(ids[pages.size() % ids.size()]);
      pages.push_back(id << 9 | 3U << 6 | 15U);
    }
    for (int i = 0; i < each; ++i) {
      sequences.push_back(s);
      slots.push_back(i);
      positions.push_back(100000 + i);
    }
  }
  fp_attn_tables tables{};
  tables.pages = upload(pages);
  tables.page_counts = upload(counts);
  tables.page_stride = page_stride;
  tables.batch = tokens / each;
  const fp_kv_tokens list{upload(sequences), upload(slots), upload(positions),
                          upload(std::vector<std::uint8_t>(positions.size(), 3)), tokens};
  const fp_kv_rope_spec spec{style, kShape.head_dim, 500000.0F, 1.0F, nullptr};
  fp_kv_rope rope;
  MUST(fp_kv_make_rope(&spec, &rope));
  const std::int64_t width = std::int64_t{kShape.q_heads + 2 * kShape.kv_heads} * kShape.head_dim;
  const std::size_t elements = static_cast<std::size_t>(tokens) * static_cast<std::size_t>(width);
  auto* rows = device_array<std::uint16_t>(elements);
  fill_random<<<1024, 256>>>(rows, elements, 3);
  auto* status = upload(std::vector<std::uint32_t>(1, 0));
  fp_kv_append_args args{};
  args.q = args.q_out = rows;
  args.k = rows + kShape.q_heads * kShape.head_dim;
  args.v = rows + (kShape.q_heads + kShape.kv_heads) * kShape.head_dim;
  args.q_stride = args.k_stride = args.v_stride = args.q_out_stride = width;
  args.status = status;
  const double us = time_us(kLayers, [&](int i, cudaStream_t stream) {
    MUST(fp_kv_append(&cache, i % kLayers, &tables, &list, &rope, &args, stream));
  });
  std::uint32_t bits = 0;
  MUST(cudaMemcpy(&bits, status, 4, cudaMemcpyDeviceToHost));
  MUST(bits);
  report(name, "ours", us, elements * 4);
  report(name, "memcpy", memcpy_us(elements * 4, kLayers), elements * 4);
  cudaFree(rows);
}

void copy_case(const std::string& name, const fp_kv_cache& cache, int count) {
  const std::vector<int> ids = shuffled_pages();
  std::vector<fp_kv_page_pair> pairs;
  for (int i = 0; i < count; ++i) pairs.push_back({ids[2 * i], ids[2 * i + 1]});
  auto* device_pairs = upload(pairs);
  auto* device_count = upload(std::vector<std::int32_t>(1, count));
  auto* status = upload(std::vector<std::uint32_t>(1, 0));
  const double us = time_us(4, [&](int, cudaStream_t stream) {
    MUST(fp_kv_copy_pages(&cache, device_pairs, device_count, count, status, stream));
  });
  std::uint32_t bits = 0;
  MUST(cudaMemcpy(&bits, status, 4, cudaMemcpyDeviceToHost));
  MUST(bits);
  const std::size_t bytes = std::size_t{2} * static_cast<std::size_t>(count) * kLayers * 65536;
  report(name, "ours", us, bytes);
  report(name, "memcpy", memcpy_us(bytes, 4), bytes);
}

fp_kv_scrub make_scrub(const fp_kv_cache& cache, int pins) {
  std::vector<std::uint32_t> entries;
  for (int i = 0; i < pins; ++i) {
    entries.push_back(static_cast<std::uint32_t>(shuffled_pages()[i]) << 9 | 1U << 6 | 15U);
  }
  fp_kv_scrub scrub{upload(entries),
                    upload(std::vector<std::int32_t>(1, pins)),
                    device_array<std::uint64_t>(static_cast<std::size_t>(pins) * kLayers),
                    upload(std::vector<fp_kv_scrub_state>(1)),
                    upload(std::vector<fp_kv_scrub_report>(1)),
                    pins};
  MUST(fp_kv_scrub_pin(&cache, &scrub, 0, pins, nullptr));
  return scrub;
}

// 1024 pinned pages (2.1 GB over all layers), `units` of them per step.
void scrub_case(const std::string& name, const fp_kv_cache& cache, int units) {
  constexpr int kPins = 1024;
  const fp_kv_scrub scrub = make_scrub(cache, kPins);
  const double us = time_us(units > 4096 ? 4 : 64, [&](int, cudaStream_t stream) {
    MUST(fp_kv_scrub_step(&cache, &scrub, units, stream));
  });
  fp_kv_scrub_report found{};
  MUST(cudaMemcpy(&found, scrub.report, sizeof(found), cudaMemcpyDeviceToHost));
  MUST(found.failed);
  const std::size_t bytes = static_cast<std::size_t>(units) * 65536;
  report(name, "ours", us, bytes);
  if (units > 4096) report(name, "read", read_us(bytes), bytes);
}

bool wanted(const std::string& name) { return name.find(only) != std::string::npos; }

}  // namespace

int main(int argc, char** argv) {
  const char* path = "/dev/null";
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--out") == 0) path = argv[i + 1];
    if (std::strcmp(argv[i], "--only") == 0) only = argv[i + 1];
  }
  out = std::fopen(path, "a");
  if (out == nullptr) {
    std::fprintf(stderr, "cannot write %s\n", path);
    return 1;
  }
  const fp_kv_cache cache = make_cache();
  for (const int batch : {1, 64, 256}) {
    const std::string name = "append_decode_B" + std::to_string(batch);
    if (wanted(name)) append_case(name, cache, batch, 1, FP_KV_ROPE_ADJACENT);
  }
  for (const int tokens : {2048, 8192, 32768}) {
    const std::string name = "append_prefill_" + std::to_string(tokens / 1024) + "k";
    if (wanted(name)) append_case(name, cache, tokens, tokens, FP_KV_ROPE_ADJACENT);
  }
  if (wanted("append_prefill_8k_halves")) {
    append_case("append_prefill_8k_halves", cache, 8192, 8192, FP_KV_ROPE_HALVES);
  }
  for (const int pairs : {1, 16, 128, 1024}) {
    const std::string name = "copy_pages_" + std::to_string(pairs);
    if (wanted(name)) copy_case(name, cache, pairs);
  }
  for (const int units : {8, 32, 128, 32768}) {
    const std::string name = "scrub_" + std::to_string(units);
    if (wanted(name)) scrub_case(name, cache, units);
  }
  std::fclose(out);
  return 0;
}
