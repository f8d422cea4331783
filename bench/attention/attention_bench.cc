// Speed of CPU attention per instruction set, in the shapes of the first two models.
//
//   attention_bench [--threads N] [--isa NAME] [--seconds S] [--clock wall|cpu]
//                   [--what decode|prefill]
//
// Decode: one query per step over all layers of a model, so that KV comes from memory
// or the last cache level as in a real run; prints GB/s of KV read. Prefill: a chunk of
// 512 queries; prints GFLOP/s of the two products. Threads meet at a barrier
// between layers, as ggml's do. --clock cpu counts the CPU time of the one thread, for
// machines that are busy with something else.
#include <sys/mman.h>

#include <algorithm>
#include <barrier>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "attention/cpu/cpu_attention.h"

namespace fieldprint {
namespace {

struct Model {
  const char* name;
  AttentionShape shape;
  int layers;
};
constexpr Model kModels[] = {{"smollm2-135m", {9, 3, 64, 0.125F}, 30},
                             {"gemma3-270m", {4, 1, 256, 0.0625F}, 18}};

struct Options {
  int threads = 2;
  std::string isa;
  std::string what;
  double seconds = 1.0;
  bool cpu_clock = false;
};

double now(const Options& options) {
  timespec t;
  clock_gettime(options.cpu_clock ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// One sequence of `length` rows in consecutive pages; classes alternate as in a chat.
struct Sequence {
  std::vector<PageEntry> pages;
  std::vector<Leaf> leaves;
  SequencePlan plan;
  Sequence(int length, int queries) {
    for (int pos = 0; pos < length; pos += kPageRows) {
      const auto cls = pos / 256 % 2 == 0 ? KvClass::kUser : KvClass::kOutput;
      pages.push_back({static_cast<PageId>(pages.size()), cls,
                       static_cast<std::uint8_t>(std::min(kPageRows, length - pos)), pos});
    }
    const int count = static_cast<int>(pages.size());
    for (int p = 0; p < count; p += kLeafPages)
      leaves.push_back({p, std::min(kLeafPages, count - p)});
    plan.query_count = queries;
    plan.first_query_pos = length - queries;
    plan.pages = pages;
    plan.leaves = leaves;
  }
};

// Pages of all layers, on huge memory pages where the system gives them (as the runner's).
class KvMemory {
 public:
  KvMemory(const Model& model, int pages)
      : shape_{model.shape.kv_heads, model.shape.head_dim, KvDtype::kBf16},
        stride_(kv_page_bytes(shape_)),
        layer_bytes_(stride_ * static_cast<std::size_t>(pages)) {
    constexpr std::size_t kHuge = std::size_t{2} << 20;
    const std::size_t bytes =
        (layer_bytes_ * static_cast<std::size_t>(model.layers) + kHuge - 1) / kHuge * kHuge;
    base_ = static_cast<std::uint16_t*>(std::aligned_alloc(kHuge, bytes));
    if (base_ == nullptr) std::abort();
    madvise(base_, bytes, MADV_HUGEPAGE);
    std::uint32_t state = 1;
    for (std::size_t i = 0; i < bytes / 2; ++i) {
      // Ordinary magnitudes: exponents 2^-2..2^0, random sign and mantissa.
      state = state * 1664525U + 1013904223U;
      base_[i] = static_cast<std::uint16_t>(((state >> 16) & 0x80FFU) | 0x3E80U);
    }
  }
  KvMemory(const KvMemory&) = delete;
  KvMemory& operator=(const KvMemory&) = delete;
  ~KvMemory() { std::free(base_); }
  KvLayerView layer(int index) {
    return {reinterpret_cast<std::byte*>(base_) + layer_bytes_ * static_cast<std::size_t>(index),
            stride_, KvDtype::kBf16};
  }

 private:
  KvShape shape_;
  std::size_t stride_, layer_bytes_;
  std::uint16_t* base_ = nullptr;
};

// Seconds per step over all layers, the best of several passes.
double measure(const Model& model, CpuIsa isa, int length, int queries, const Options& options) {
  const Sequence sequence(length, queries);
  KvMemory memory(model, static_cast<int>(sequence.pages.size()));
  CpuAttentionOptions attention_options;
  attention_options.shape = model.shape;
  attention_options.layers = model.layers;
  attention_options.max_threads = options.threads;
  attention_options.isa = isa;
  auto made = CpuAttention::create(attention_options);
  if (!made) {
    std::fprintf(stderr, "%s\n", made.error().message.c_str());
    std::exit(2);
  }
  CpuAttention& attention = **made;
  const int width = model.shape.heads * model.shape.head_dim;
  std::vector<float> q(static_cast<std::size_t>(queries * width));
  std::mt19937 rng(2);
  for (float& x : q) x = static_cast<float>(rng() % 2000) * 0.001F - 1.0F;
  std::vector<float> out(q.size());
  double best = 1e9, total = 0.0;
  bool stop = false;
  double start = 0.0;
  const auto begin = [&]() noexcept {
    if (!attention.prepare({&sequence.plan, 1}, options.threads)) std::abort();
    start = now(options);
  };
  begin();
  std::barrier layer_end(options.threads);
  std::barrier step_end(options.threads, [&]() noexcept {
    const double seconds = now(options) - start;
    best = std::min(best, seconds);
    total += seconds;
    stop = total > options.seconds;
    begin();
  });
  const auto worker = [&](int thread) {
    while (!stop) {
      for (int layer = 0; layer < model.layers; ++layer) {
        CpuLayerArgs args;
        args.layer = layer;
        args.kv = memory.layer(layer);
        args.q = q.data();
        args.out = out.data();
        attention.run(args, thread, options.threads);
        layer_end.arrive_and_wait();
      }
      step_end.arrive_and_wait();
    }
  };
  std::vector<std::thread> others;
  for (int t = 1; t < options.threads; ++t) others.emplace_back(worker, t);
  worker(0);
  for (std::thread& other : others) other.join();
  return best;
}

void report(const Model& model, CpuIsa isa, const Options& options) {
  const double row_bytes = 2.0 * 2.0 * model.shape.kv_heads * model.shape.head_dim * model.layers;
  for (const int depth : {128, 2048, 7168}) {
    if (options.what == "prefill") break;
    const double seconds = measure(model, isa, depth, 1, options);
    std::printf("%-13s %-12s decode  depth %5d  %8.3f ms/token  %6.1f GB/s\n", model.name,
                std::string(cpu_isa_name(isa)).c_str(), depth, seconds * 1e3,
                row_bytes * depth / seconds * 1e-9);
  }
  for (const int depth : {512, 7168}) {
    if (options.what == "decode") break;
    const int queries = 512;
    const double seconds = measure(model, isa, depth, queries, options);
    const double pairs = double{queries} * (depth - queries) + 0.5 * queries * (queries + 1.0);
    const double flops = 4.0 * pairs * model.shape.heads * model.shape.head_dim * model.layers;
    std::printf("%-13s %-12s prefill depth %5d  %8.1f ms/chunk  %6.1f GFLOP/s\n", model.name,
                std::string(cpu_isa_name(isa)).c_str(), depth, seconds * 1e3,
                flops / seconds * 1e-9);
  }
}

int bench_main(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--threads") == 0)
      options.threads = std::max(1, std::atoi(argv[i + 1]));
    if (std::strcmp(argv[i], "--isa") == 0) options.isa = argv[i + 1];
    if (std::strcmp(argv[i], "--what") == 0) options.what = argv[i + 1];
    if (std::strcmp(argv[i], "--clock") == 0) options.cpu_clock = !std::strcmp(argv[i + 1], "cpu");
    if (std::strcmp(argv[i], "--seconds") == 0) options.seconds = std::atof(argv[i + 1]);
  }
  if (options.cpu_clock && options.threads != 1) {
    std::fprintf(stderr, "--clock cpu counts one thread only; add --threads 1\n");
    return 2;
  }
  std::printf("threads: %d\n", options.threads);
  for (const Model& model : kModels) {
    for (const CpuIsa isa : all_cpu_isas()) {
      if (!options.isa.empty() && options.isa != cpu_isa_name(isa)) continue;
      if (!cpu_isa_available(isa)) {
        std::printf("%-13s %-12s not available here\n", model.name,
                    std::string(cpu_isa_name(isa)).c_str());
        continue;
      }
      report(model, isa, options);
    }
  }
  return 0;
}

}  // namespace
}  // namespace fieldprint

int main(int argc, char** argv) { return fieldprint::bench_main(argc, argv); }
