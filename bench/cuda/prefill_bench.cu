// Prefill attention on the device: causal, paged, one launch, with and without an anchor.
//
//   attention_cuda_prefill_bench [--out lines.jsonl] [--only substring] [--once yes]
//
// One line per (case, variant): {"case", "variant", "us", "flop", "extra_bytes"}. flop counts
// the pairs of query and visible context row, 4 * head_dim each and query head; the anchor's
// rows are not counted. extra_bytes: memory beside q, K, V and o. Times are medians over CUDA
// graph replays; planning is outside. Pages are in random physical order.
// --once launches every variant three times without graphs, for a profiler.
#include <cuda_runtime.h>

#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <string>

#include "attention/cuda/capi.h"
#include "bench_common.cuh"

namespace {

using fieldprint::bench::device_array;
using fieldprint::bench::fill_random;
using fieldprint::bench::upload;

struct Case {
  std::string name;
  int batch;
  int length;   // of each sequence, its queries included
  int queries;  // of each sequence, the last ones
};

std::string kilo_rows(const char* prefix, int n) {
  std::string name = prefix;
  name += std::to_string(n);
  name += 'k';
  return name;
}

constexpr int kAnchorRows = 512;

struct Options {
  const char* out = "/dev/null";
  const char* only = "";
  bool once = false;
};
Options options;

enum class Variant { kPlain, kJoint, kGated, kGatedFew, kAllRows };

constexpr struct {
  Variant variant;
  const char* name;
} kVariants[] = {
    {Variant::kPlain, "plain"},            // attention only
    {Variant::kJoint, "joint"},            // 512 anchor rows; statistics of the last row
    {Variant::kGated, "gated"},            // the same with gates
    {Variant::kGatedFew, "gated_128"},     // 128 anchor rows
    {Variant::kAllRows, "joint_all_rows"}  // statistics of every row
};

class Step {
 public:
  Step(const Case& c, const fp_attn_shape& shape) : shape_(shape), case_(c) {
    const int pages_each = c.length / shape.page_rows;
    const int anchor_pages = kAnchorRows / shape.page_rows;
    const int pool_pages = c.batch * pages_each + anchor_pages;
    std::vector<std::uint32_t> ids(static_cast<std::size_t>(pool_pages));
    std::iota(ids.begin(), ids.end(), 0U);
    std::mt19937 rng(1);
    std::shuffle(ids.begin(), ids.end(), rng);
    constexpr std::uint32_t kUser = 3U << 6;
    constexpr std::uint32_t kAnchor = 1U << 6;
    std::vector<std::uint32_t> table, anchor_table;
    std::vector<std::int32_t> positions, starts, first_positions;
    for (int i = 0; i < pool_pages; ++i) {
      const bool context = i < c.batch * pages_each;
      const std::uint32_t entry = ids[static_cast<std::size_t>(i)] << 9 |
                                  (context ? kUser : kAnchor) | (shape.page_rows - 1);
      (context ? table : anchor_table).push_back(entry);
      if (context) positions.push_back(i % pages_each * shape.page_rows);
    }
    for (int i = 0; i <= c.batch; ++i) starts.push_back(i * c.queries);
    first_positions.assign(static_cast<std::size_t>(c.batch), c.length - c.queries);
    tables_ = {take(upload(table)),
               take(upload(std::vector<std::int32_t>(c.batch, pages_each))),
               pages_each,
               c.batch,
               take(upload(std::vector<std::int32_t>(c.batch, 0))),
               take(upload(anchor_table)),
               take(upload(std::vector<std::int32_t>(1, anchor_pages))),
               anchor_pages,
               1};
    queries_ = {take(upload(starts)), take(upload(first_positions)), take(upload(positions)),
                nullptr, c.batch * c.queries};
    few_ = take(upload(std::vector<std::int32_t>(1, 128 / shape.page_rows)));
    make_pool(pool_pages);
    make_outputs();
    MUST(cudaDeviceSynchronize());
  }
  ~Step() {
    for (void* p : owned_) cudaFree(p);
  }
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;

  double flop() const {
    const double before = case_.length - case_.queries;
    const double pairs = case_.queries * before + 0.5 * case_.queries * (case_.queries + 1.0);
    return 4.0 * shape_.head_dim * shape_.q_heads * case_.batch * pairs;
  }
  std::size_t extra_bytes() const { return space_.bytes; }

  void plan(Variant variant, cudaStream_t stream) {
    const fp_attn_tables tables = tables_for(variant);
    MUST(fp_attn_prefill_plan(&shape_, &tables, &queries_, &space_, stream));
  }
  void run(Variant variant, cudaStream_t stream) {
    const fp_attn_tables tables = tables_for(variant);
    fp_attn_prefill_args args{args_, FP_ATTN_ROWS_LAST};
    if (variant == Variant::kAllRows) args.rows = FP_ATTN_ROWS_ALL;
    const bool gated = variant == Variant::kGated || variant == Variant::kGatedFew;
    args.base.modes = gated ? gated_ : nullptr;
    if (variant == Variant::kPlain) {
      args.base.lse_context = args.base.lse_anchor = args.base.lse_joint = nullptr;
      args.base.mass = nullptr;
      args.base.beta = nullptr;
    }
    MUST(fp_attn_prefill(&pool_, &tables, &queries_, &space_, &args, stream));
  }

 private:
  template <typename T>
  T* take(T* data) {
    owned_.push_back(data);
    return data;
  }
  std::uint16_t* random(std::size_t count) {
    auto* data = take(device_array<std::uint16_t>(count));
    fill_random<<<1024, 256>>>(data, count, static_cast<std::uint32_t>(owned_.size()));
    return data;
  }

  fp_attn_tables tables_for(Variant variant) const {
    fp_attn_tables tables = tables_;
    if (variant == Variant::kPlain) tables.anchor_ids = nullptr;
    if (variant == Variant::kGatedFew) tables.anchor_page_counts = few_;
    return tables;
  }

  void make_pool(int pool_pages) {
    const std::size_t elements = static_cast<std::size_t>(pool_pages) * shape_.kv_heads *
                                 static_cast<std::size_t>(shape_.page_rows * shape_.head_dim);
    auto* k = random(elements);
    MUST(fp_attn_make_pool(&shape_, k, random(elements), pool_pages, &pool_));
  }

  void make_outputs() {
    const auto heads = static_cast<std::size_t>(queries_.tokens) * shape_.q_heads;
    args_.q = random(heads * static_cast<std::size_t>(shape_.head_dim));
    args_.o = random(heads * static_cast<std::size_t>(shape_.head_dim));
    args_.scale = 1.0F / std::sqrt(static_cast<float>(shape_.head_dim));
    args_.beta =
        take(upload(std::vector<float>(static_cast<std::size_t>(shape_.kv_heads) * 512, 0.1F)));
    args_.gamma = take(upload(std::vector<float>(static_cast<std::size_t>(shape_.q_heads), 0.3F)));
    args_.psi = take(upload(std::vector<float>(1, 0.0F)));
    gated_ = take(upload(std::vector<std::uint8_t>(1, 1)));
    args_.lse_context = take(device_array<float>(heads));
    args_.lse_anchor = take(device_array<float>(heads));
    args_.lse_joint = take(device_array<float>(heads));
    args_.mass = take(device_array<float>(heads * 8));
    space_.limits = {case_.batch, 0};
    space_.bytes = fp_attn_prefill_workspace_bytes(&shape_, &space_.limits);
    space_.data = take(device_array<unsigned char>(space_.bytes));
  }

  fp_attn_shape shape_;
  Case case_;
  fp_attn_tables tables_{};
  fp_attn_queries queries_{};
  fp_attn_pool pool_{};
  fp_attn_workspace space_{};
  fp_attn_decode_args args_{};
  const std::uint8_t* gated_ = nullptr;
  const std::int32_t* few_ = nullptr;  // pages of 128 anchor rows
  std::vector<void*> owned_;
};

void run_case(const Case& c, const fp_attn_shape& shape, std::FILE* out) {
  Step step(c, shape);
  std::string line = c.name;
  // About 30 ms of work per replay at 500 TFLOP/s.
  const int launches = std::max(1, std::min(50, static_cast<int>(1.5e13 / step.flop())));
  for (const auto& [variant, name] : kVariants) {
    step.plan(variant, nullptr);
    MUST(cudaDeviceSynchronize());
    const Variant which = variant;
    const auto launch = [&](int, cudaStream_t stream) { step.run(which, stream); };
    double us = 1.0;
    if (options.once) {
      for (int i = 0; i < 3; ++i) launch(i, nullptr);
      MUST(cudaDeviceSynchronize());
    } else {
      us = fieldprint::bench::time_us(launches, launch);
    }
    std::fprintf(out,
                 "{\"case\": \"%s\", \"variant\": \"%s\", \"us\": %.3f, \"flop\": %.0f, "
                 "\"extra_bytes\": %zu}\n",
                 c.name.c_str(), name, us, step.flop(), step.extra_bytes());
    char text[64];
    std::snprintf(text, sizeof(text), "  %s %.1f us %.0f TFLOP/s", name, us,
                  step.flop() / us * 1e-6);
    line += text;
  }
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--out") == 0) options.out = argv[i + 1];
    if (std::strcmp(argv[i], "--only") == 0) options.only = argv[i + 1];
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
  const fp_attn_shape llama{128, 32, 8, 16};
  const fp_attn_shape small{64, 32, 8, 16};
  std::vector<Case> cases;
  for (int n = 1; n <= 128; n *= 2) {
    cases.push_back({kilo_rows("N", n), 1, n * 1024, n * 1024});
  }
  cases.push_back({"B16_N2k", 16, 2048, 2048});
  cases.push_back({"chunk2k_over128k", 1, (128 + 2) * 1024, 2048});
  for (const Case& c : cases) {
    if (std::strstr(c.name.c_str(), options.only) != nullptr) run_case(c, llama, out);
  }
  for (const int n : {8, 32}) {
    const Case c{kilo_rows("d64_N", n), 1, n * 1024, n * 1024};
    if (std::strstr(c.name.c_str(), options.only) != nullptr) run_case(c, small, out);
  }
  std::fclose(out);
  return 0;
}
