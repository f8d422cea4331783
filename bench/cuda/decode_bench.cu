// Decode attention on the device beside the ceiling: the same pages read and nothing else.
//
//   attention_cuda_decode_bench [--out lines.jsonl] [--only substring] [--pages shuffled|in_order]
//                        [--once yes]
//
// --once launches everything three times without graphs, for a profiler.
// One line per (case, variant): {"case": ..., "variant": ..., "us": ..., "kv_bytes": ...}.
// Each launch reads another replica of the pools, so that small cases do not come from
// the L2 cache. Times are medians over CUDA graph replays. Physical
// pages are shuffled unless asked otherwise.
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "attention/cuda/capi.h"
#include "bench_common.cuh"

namespace {

using fieldprint::bench::device_array;
using fieldprint::bench::fill_random;
using fieldprint::bench::upload;

struct Case {
  const char* name;
  int batch;
  int length;
};

constexpr Case kCases[] = {
    {"B1_N4k", 1, 4096},     {"B1_N8k", 1, 8192},     {"B1_N32k", 1, 32768},
    {"B1_N128k", 1, 131072}, {"B16_N4k", 16, 4096},   {"B16_N8k", 16, 8192},
    {"B16_N32k", 16, 32768}, {"B64_N4k", 64, 4096},   {"B64_N16k", 64, 16384},
    {"B256_N4k", 256, 4096}, {"B256_N8k", 256, 8192},
};
constexpr int kAnchorRows = 512;

struct Options {
  const char* out = "/dev/null";
  const char* only = "";
  bool shuffled = true;
  bool once = false;
};
Options options;

// One case on the device: pools, tables, workspace, outputs.
class Step {
 public:
  Step(const Case& c, const fp_attn_shape& shape) : shape_(shape), case_(c) {
    const int pages_each = c.length / shape.page_rows;
    const int anchor_pages = kAnchorRows / shape.page_rows;
    pool_pages_ = c.batch * pages_each + anchor_pages;
    std::vector<std::uint32_t> ids(static_cast<std::size_t>(pool_pages_));
    std::iota(ids.begin(), ids.end(), 0U);
    std::mt19937 rng(1);
    if (options.shuffled) std::shuffle(ids.begin(), ids.end(), rng);
    constexpr std::uint32_t kUser = 3U << 6;
    constexpr std::uint32_t kAnchor = 1U << 6;
    std::vector<std::uint32_t> table, anchor_table;
    for (int i = 0; i < c.batch * pages_each; ++i) {
      table.push_back(ids[static_cast<std::size_t>(i)] << 9 | kUser | (shape.page_rows - 1));
    }
    for (int i = c.batch * pages_each; i < pool_pages_; ++i) {
      anchor_table.push_back(ids[static_cast<std::size_t>(i)] << 9 | kAnchor |
                             (shape.page_rows - 1));
    }
    tables_ = {upload(table),
               upload(std::vector<std::int32_t>(c.batch, pages_each)),
               pages_each,
               c.batch,
               upload(std::vector<std::int32_t>(c.batch, 0)),
               upload(anchor_table),
               upload(std::vector<std::int32_t>(1, anchor_pages)),
               anchor_pages,
               1};
    allocate_pools();
    allocate_outputs();
  }

  ~Step() {
    for (void* p : owned_) cudaFree(p);
  }
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;

  std::size_t kv_bytes() const {
    return std::size_t{4} * case_.batch * case_.length * shape_.kv_heads * shape_.head_dim;
  }
  int replicas() const { return static_cast<int>(pools_.size()); }

  void plan(bool anchors, cudaStream_t stream) {
    const fp_attn_tables tables = tables_with(anchors);
    MUST(fp_attn_plan(&shape_, &tables, &space_, stream));
  }
  void decode(int replica, bool anchors, cudaStream_t stream) {
    const fp_attn_tables tables = tables_with(anchors);
    fp_attn_decode_args args = args_;
    if (!anchors) {
      args.lse_context = args.lse_anchor = args.lse_joint = args.mass = nullptr;
      args.beta = nullptr;
    }
    MUST(fp_attn_decode(&pools_[static_cast<std::size_t>(replica)], &tables, &space_, &args,
                        stream));
  }
  void read(int replica, int engine, cudaStream_t stream) {
    const fp_attn_tables tables = tables_with(false);
    MUST(fp_attn_read_pages(&pools_[static_cast<std::size_t>(replica)], &tables, &space_, engine,
                            stream));
  }

 private:
  fp_attn_tables tables_with(bool anchors) const {
    fp_attn_tables tables = tables_;
    if (!anchors) tables.anchor_ids = nullptr;
    return tables;
  }

  void allocate_pools() {
    const std::size_t elements = static_cast<std::size_t>(pool_pages_) * shape_.kv_heads *
                                 static_cast<std::size_t>(shape_.page_rows * shape_.head_dim);
    const std::size_t enough = std::size_t{600} << 20;  // bytes read before a page returns
    const auto count = std::min<std::size_t>(40, enough / (elements * 4) + 1);
    for (std::size_t i = 0; i < count; ++i) {
      void* rows[2];
      for (void*& r : rows) {
        r = device_array<std::uint16_t>(elements);
        owned_.push_back(r);
        fill_random<<<1024, 256>>>(static_cast<std::uint16_t*>(r), elements,
                                   static_cast<std::uint32_t>(owned_.size()));
      }
      pools_.emplace_back();
      MUST(fp_attn_make_pool(&shape_, rows[0], rows[1], pool_pages_, &pools_.back()));
    }
    MUST(cudaDeviceSynchronize());
  }

  void allocate_outputs() {
    const std::size_t heads = static_cast<std::size_t>(case_.batch) * shape_.q_heads;
    const std::size_t width = heads * static_cast<std::size_t>(shape_.head_dim);
    auto* q = device_array<std::uint16_t>(width);
    fill_random<<<64, 256>>>(q, width, 99);
    args_ = {};
    args_.q = q;
    args_.scale = 1.0F / std::sqrt(static_cast<float>(shape_.head_dim));
    args_.beta = upload(std::vector<float>(static_cast<std::size_t>(shape_.kv_heads) * 512, 0.1F));
    args_.o = device_array<std::uint16_t>(width);
    args_.lse_context = device_array<float>(heads);
    args_.lse_anchor = device_array<float>(heads);
    args_.lse_joint = device_array<float>(heads);
    args_.mass = device_array<float>(heads * 8);
    space_.limits = {case_.batch, case_.batch * tables_.page_stride};
    space_.bytes = fp_attn_workspace_bytes(&shape_, &space_.limits);
    space_.data = device_array<unsigned char>(space_.bytes);
    owned_.push_back(space_.data);
  }

  fp_attn_shape shape_;
  Case case_;
  int pool_pages_ = 0;
  fp_attn_tables tables_{};
  std::vector<fp_attn_pool> pools_;
  fp_attn_workspace space_{};
  fp_attn_decode_args args_{};
  std::vector<void*> owned_;
};

double time_us(int launches, const std::function<void(int, cudaStream_t)>& launch) {
  if (!options.once) return fieldprint::bench::time_us(launches, launch);
  for (int i = 0; i < 3; ++i) launch(i, nullptr);
  MUST(cudaDeviceSynchronize());
  return 1.0;
}

void run_case(const Case& c, std::FILE* out) {
  const fp_attn_shape shape{128, 32, 8, 16};
  Step step(c, shape);
  const int per_replay = std::max(step.replicas(), c.batch * c.length > 200000 ? 4 : 40);
  const auto replica = [&](int i) { return i % step.replicas(); };
  std::string line = c.name;
  const auto report = [&](const char* variant, double us) {
    const double rate = static_cast<double>(step.kv_bytes()) / us * 1e-6;
    std::fprintf(out, "{\"case\": \"%s\", \"variant\": \"%s\", \"us\": %.3f, \"kv_bytes\": %zu}\n",
                 c.name, variant, us, step.kv_bytes());
    char text[64];
    std::snprintf(text, sizeof(text), "  %s %.1f us %.2f TB/s", variant, us, rate);
    line += text;
  };
  step.plan(false, nullptr);
  MUST(cudaDeviceSynchronize());
  report("stream_loads",
         time_us(per_replay, [&](int i, cudaStream_t s) { step.read(replica(i), 0, s); }));
  report("stream_copy_engine",
         time_us(per_replay, [&](int i, cudaStream_t s) { step.read(replica(i), 1, s); }));
  report("plain",
         time_us(per_replay, [&](int i, cudaStream_t s) { step.decode(replica(i), false, s); }));
  step.plan(true, nullptr);
  MUST(cudaDeviceSynchronize());
  report("anchors_mass",
         time_us(per_replay, [&](int i, cudaStream_t s) { step.decode(replica(i), true, s); }));
  report("plan", time_us(20, [&](int, cudaStream_t s) { step.plan(true, s); }));
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--out") == 0) options.out = argv[i + 1];
    if (std::strcmp(argv[i], "--only") == 0) options.only = argv[i + 1];
    if (std::strcmp(argv[i], "--pages") == 0) {
      options.shuffled = std::strcmp(argv[i + 1], "shuffled") == 0;
    }
    if (std::strcmp(argv[i], "--once") == 0) options.once = true;
  }
  std::FILE* out = std::fopen(options.out, "a");
  if (out == nullptr) {
    std::fprintf(stderr, "cannot write %s\n", options.out);
    return 1;
  }
  cudaDeviceProp properties{};
  MUST(cudaGetDeviceProperties(&properties, 0));
  std::printf("%s, %d multiprocessors\n", properties.name, properties.multiProcessorCount);
  for (const Case& c : kCases) {
    if (std::strstr(c.name, options.only) != nullptr) run_case(c, out);
  }
  std::fclose(out);
  return 0;
}
