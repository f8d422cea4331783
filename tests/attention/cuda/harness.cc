#include "attention/cuda/harness.h"

#include <cuda_runtime.h>

#include <cstring>
#include <map>

#include "attention/cuda/device_array.h"

namespace fieldprint::testing {
namespace {

// Regroups 16-row pages into pages of `page_rows`; fills the pool and the table.
class Packer {
 public:
  Packer(const AttentionWorld& world, DeviceBatch& batch, std::vector<int> ids)
      : world_(world), batch_(batch), ids_(std::move(ids)) {}

  struct Placed {
    std::vector<std::uint32_t> table;
    std::vector<std::int32_t> positions;  // of each page's first row
    std::vector<int> slot;                // of the i-th 16-row page's first row
  };

  Placed place(std::span<const PageEntry> pages) {
    Placed placed;
    const int page_rows = batch_.shape.page_rows;
    int rows = page_rows;  // in the current page
    int next_pos = 0;
    KvClass cls = KvClass::kReserved;
    bool open = false;
    PageId id = 0;
    const auto close = [&] {
      if (open) placed.table.push_back(pack(id, cls, rows));
      open = false;
    };
    for (const PageEntry& page : pages) {
      if (!open || rows == page_rows || rows % kPageRows != 0 || cls != page.cls ||
          next_pos != page.first_pos) {
        close();
        id = ids_.back();
        ids_.pop_back();
        rows = 0;
        cls = page.cls;
        open = true;
        placed.positions.push_back(page.first_pos);
      }
      placed.slot.push_back(static_cast<int>(placed.table.size()) * page_rows + rows);
      for (int row = 0; row < page.rows; ++row) copy_row(page.page, row, id, rows + row);
      rows += page.rows;
      next_pos = page.first_pos + page.rows;
    }
    close();
    return placed;
  }

 private:
  static std::uint32_t pack(PageId id, KvClass cls, int rows) {
    return pack_page_entry({id, cls, static_cast<std::uint8_t>(rows), 0});
  }

  void copy_row(PageId from_page, int from_row, PageId to_page, int to_row) {
    const fp_attn_shape& shape = batch_.shape;
    for (int head = 0; head < shape.kv_heads; ++head) {
      const std::size_t from = world_.row_offset(from_page, from_row, head);
      const std::size_t to =
          ((static_cast<std::size_t>(to_page) * shape.kv_heads + head) * shape.page_rows + to_row) *
          shape.head_dim;
      for (int d = 0; d < shape.head_dim; ++d) {
        batch_.k[to + d] = bf16_from_float(world_.k[from + d]);
        batch_.v[to + d] = bf16_from_float(world_.v[from + d]);
      }
    }
  }

  const AttentionWorld& world_;
  DeviceBatch& batch_;
  std::vector<int> ids_;
};

// Page tables and the positions beside them, ragged.
struct Tables {
  std::vector<std::vector<std::uint32_t>> pages;
  std::vector<std::vector<std::int32_t>> positions;
  void add(const Packer::Placed& placed) {
    pages.push_back(placed.table);
    positions.push_back(placed.positions);
  }
};

void add_anchor(DeviceBatch& batch, const AttentionShape& shape, const AnchorView& anchor,
                const Packer::Placed& placed, Tables& tables) {
  tables.add(placed);
  batch.anchor_page_counts.push_back(static_cast<int>(placed.table.size()));
  batch.modes.push_back(static_cast<std::uint8_t>(anchor.mode));
  batch.psi.push_back(anchor.psi);
  for (int h = 0; h < shape.heads; ++h) {
    batch.gamma.push_back(anchor.gamma[kCaseLayer * shape.heads + h]);
  }
  const std::size_t base = batch.beta.size();
  batch.beta.resize(base + static_cast<std::size_t>(shape.kv_heads) * 512, 0.0F);
  if (anchor.beta == nullptr) return;
  batch.has_beta = true;
  for (int g = 0; g < shape.kv_heads; ++g) {
    const float* from = anchor.beta + (kCaseLayer * shape.kv_heads + g) * anchor.beta_stride;
    for (std::size_t p = 0; p < anchor.pages.size(); ++p) {
      for (int row = 0; row < anchor.pages[p].rows; ++row) {
        batch.beta[base + static_cast<std::size_t>(g * 512 + placed.slot[p] + row)] =
            from[p * kPageRows + row];
      }
    }
  }
}

// Rows of equal width from ragged tables; the padding is an id no pool has.
template <typename T>
std::vector<T> rectangular(const std::vector<std::vector<T>>& tables, int stride) {
  std::vector<T> flat;
  for (const auto& table : tables) {
    flat.insert(flat.end(), table.begin(), table.end());
    flat.resize(flat.size() + static_cast<std::size_t>(stride) - table.size(),
                static_cast<T>(0xFFFFFFFFU));
  }
  return flat;
}

int widest(const std::vector<std::int32_t>& counts) {
  return counts.empty() ? 1 : std::max(1, *std::max_element(counts.begin(), counts.end()));
}

// Everything of one run on the device.
struct DeviceStep {
  explicit DeviceStep(const DeviceBatch& b)
      : batch(b),
        k(b.k),
        v(b.v),
        q(b.q),
        pages(b.pages),
        anchor_pages(b.anchor_pages),
        page_counts(b.page_counts),
        anchor_ids(b.anchor_ids),
        anchor_page_counts(b.anchor_page_counts),
        beta(b.beta),
        modes(b.modes),
        gamma(b.gamma),
        psi(b.psi),
        heads(static_cast<std::size_t>(b.batch()) * b.shape.q_heads),
        o(heads * b.shape.head_dim),
        lse_context(heads),
        lse_anchor(heads),
        lse_joint(heads),
        mass(heads * kKvClasses),
        limits{b.batch(), total_pages(b)},
        workspace(fp_attn_workspace_bytes(&b.shape, &limits)) {
    EXPECT_EQ(fp_attn_make_pool(&b.shape, k.get(), v.get(), b.pool_pages, &pool), FP_ATTN_OK);
    tables = {pages.get(),
              page_counts.get(),
              b.page_stride,
              b.batch(),
              b.modes.empty() ? nullptr : anchor_ids.get(),
              anchor_pages.get(),
              anchor_page_counts.get(),
              b.anchor_stride,
              static_cast<int>(b.modes.size())};
    space = {workspace.get(), fp_attn_workspace_bytes(&b.shape, &limits), limits};
    args = {q.get(),         b.scale,           b.has_beta ? beta.get() : nullptr,
            modes.get(),     gamma.get(),       psi.get(),
            o.get(),         lse_context.get(), lse_anchor.get(),
            lse_joint.get(), mass.get()};
  }

  static int total_pages(const DeviceBatch& b) {
    return std::accumulate(b.page_counts.begin(), b.page_counts.end(), 0);
  }

  void launch(cudaStream_t stream) {
    EXPECT_EQ(fp_attn_plan(&batch.shape, &tables, &space, stream), FP_ATTN_OK);
    EXPECT_EQ(fp_attn_decode(&pool, &tables, &space, &args, stream), FP_ATTN_OK);
  }

  DeviceOutput fetch() {
    const cudaError_t error = cudaDeviceSynchronize();
    EXPECT_EQ(error, cudaSuccess) << cudaGetErrorString(error);
    DeviceOutput out;
    out.o = o.download(heads * batch.shape.head_dim);
    out.lse_context = lse_context.download(heads);
    out.lse_anchor = lse_anchor.download(heads);
    out.lse_joint = lse_joint.download(heads);
    out.mass = mass.download(heads * kKvClasses);
    std::memcpy(&out.table_status, workspace.download(4).data(), 4);
    return out;
  }

  const DeviceBatch& batch;
  DeviceArray<std::uint16_t> k, v, q;
  DeviceArray<std::uint32_t> pages, anchor_pages;
  DeviceArray<std::int32_t> page_counts, anchor_ids, anchor_page_counts;
  DeviceArray<float> beta;
  DeviceArray<std::uint8_t> modes;
  DeviceArray<float> gamma, psi;
  std::size_t heads;
  DeviceArray<std::uint16_t> o;
  DeviceArray<float> lse_context, lse_anchor, lse_joint, mass;
  fp_attn_limits limits;
  DeviceArray<unsigned char> workspace;
  fp_attn_pool pool{};
  fp_attn_tables tables{};
  fp_attn_workspace space{};
  fp_attn_decode_args args{};
};

template <typename T>
std::vector<T> part(const std::vector<T>& from, int index, int batch) {
  const auto width = static_cast<std::ptrdiff_t>(from.size()) / batch;
  return {from.begin() + index * width, from.begin() + (index + 1) * width};
}

template <typename T>
bool same_bytes(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

}  // namespace

double output_tolerance(const ReferenceOutput& exact, const ReferenceOutput& naive) {
  double arithmetic = 0.0;
  double rounding = 0.0;
  for (std::size_t i = 0; i < exact.o.size(); ++i) {
    arithmetic = std::max(arithmetic, std::abs(naive.o[i] - exact.o[i]));
    const float once = round_to_bf16(static_cast<float>(exact.o[i]) + 0.3F);
    const double back = double{round_to_bf16(once - 0.3F)};
    rounding = std::max(rounding, std::abs(back - exact.o[i]));
  }
  return 2.0 * arithmetic + 2.0 * rounding;
}

void expect_lse(float got, double want, const std::string& what) {
  if (std::isinf(want)) {
    EXPECT_EQ(got, -std::numeric_limits<float>::infinity()) << what;
    return;
  }
  EXPECT_NEAR(double{got}, want, 1e-4 + 1e-6 * std::abs(want)) << what;
}

std::string missing_device() {
  const fp_attn_shape shape{64, 1, 1, 16};
  fp_attn_pool pool;
  alignas(16) static unsigned char dummy[16];
  const fp_attn_status status = fp_attn_make_pool(&shape, dummy, dummy, 1, &pool);
  if (status != FP_ATTN_NO_DEVICE && status != FP_ATTN_UNSUPPORTED_DEVICE) return {};
  return std::string("needs a Hopper GPU: ") + fp_attn_status_name(status);
}

AttentionWorld make_decode_world(std::vector<AttentionCase> cases, std::uint64_t seed) {
  AttentionWorld world = make_world(std::span<const AttentionCase>(cases), seed);
  for (auto& sequence : world.sequences) sequence->plan.first_query_pos = 1 << 24;
  return world;
}

DeviceBatch lay_out_for_device(const AttentionWorld& world, int page_rows, std::uint64_t seed) {
  DeviceBatch batch;
  batch.shape = {world.shape.head_dim, world.shape.heads, world.shape.kv_heads, page_rows};
  batch.scale = world.shape.scale;
  batch.pool_pages = world.page_count;  // enough at any page size
  std::vector<int> ids(static_cast<std::size_t>(batch.pool_pages));
  std::iota(ids.begin(), ids.end(), 0);
  std::mt19937_64 rng(seed);
  for (std::size_t i = ids.size() - 1; i > 0; --i) std::swap(ids[i], ids[rng() % (i + 1)]);
  const std::size_t elements = static_cast<std::size_t>(batch.pool_pages) * batch.shape.kv_heads *
                               static_cast<std::size_t>(page_rows * batch.shape.head_dim);
  batch.k.assign(elements, 0x7FC0);  // NaN
  batch.v = batch.k;
  for (const float q : world.q) batch.q.push_back(bf16_from_float(q));

  Packer packer(world, batch, std::move(ids));
  Tables tables, anchor_tables;
  std::map<const PageEntry*, int> known;  // anchors by their page list
  for (const auto& sequence : world.sequences) {
    const SequencePlan& plan = sequence->plan;
    tables.add(packer.place(plan.pages));
    batch.page_counts.push_back(static_cast<int>(tables.pages.back().size()));
    batch.query_starts.push_back(plan.first_query);
    batch.first_positions.push_back(plan.first_query_pos);
    if (plan.anchor.pages.empty()) {
      batch.anchor_ids.push_back(-1);
      continue;
    }
    const auto [at, fresh] =
        known.emplace(plan.anchor.pages.data(), static_cast<int>(anchor_tables.pages.size()));
    if (fresh) {
      add_anchor(batch, world.shape, plan.anchor, packer.place(plan.anchor.pages), anchor_tables);
    }
    batch.anchor_ids.push_back(at->second);
  }
  batch.page_stride = widest(batch.page_counts);
  batch.anchor_stride = widest(batch.anchor_page_counts);
  batch.query_starts.push_back(world.tokens);
  batch.pages = rectangular(tables.pages, batch.page_stride);
  batch.page_positions = rectangular(tables.positions, batch.page_stride);
  batch.anchor_pages = rectangular(anchor_tables.pages, batch.anchor_stride);
  batch.anchor_positions = rectangular(anchor_tables.positions, batch.anchor_stride);
  return batch;
}

DeviceOutput run_on_device(const DeviceBatch& batch) {
  DeviceStep step(batch);
  step.launch(nullptr);
  return step.fetch();
}

DeviceOutput run_as_graph(const DeviceBatch& batch, const std::vector<std::int32_t>& first) {
  DeviceStep step(batch);
  step.page_counts.upload(first);
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  EXPECT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  EXPECT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
  step.launch(stream);
  EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  EXPECT_EQ(cudaGraphInstantiate(&exec, graph, 0), cudaSuccess);
  EXPECT_EQ(cudaGraphLaunch(exec, stream), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  step.page_counts.upload(batch.page_counts);
  EXPECT_EQ(cudaGraphLaunch(exec, stream), cudaSuccess);
  DeviceOutput out = step.fetch();
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
  return out;
}

DeviceOutput slice(const DeviceOutput& out, const DeviceBatch& batch, int index) {
  const int n = batch.batch();
  return {part(out.o, index, n),          part(out.lse_context, index, n),
          part(out.lse_anchor, index, n), part(out.lse_joint, index, n),
          part(out.mass, index, n),       out.table_status};
}

void expect_same_bits(const DeviceOutput& a, const DeviceOutput& b, const std::string& what) {
  EXPECT_TRUE(same_bytes(a.o, b.o)) << what << ": o";
  EXPECT_TRUE(same_bytes(a.lse_context, b.lse_context)) << what << ": lse_context";
  EXPECT_TRUE(same_bytes(a.lse_anchor, b.lse_anchor)) << what << ": lse_anchor";
  EXPECT_TRUE(same_bytes(a.lse_joint, b.lse_joint)) << what << ": lse_joint";
  EXPECT_TRUE(same_bytes(a.mass, b.mass)) << what << ": mass";
}

void expect_matches_reference(const DeviceOutput& out, const AttentionWorld& world,
                              const std::string& what) {
  EXPECT_EQ(out.table_status, 0U) << what;
  const ReferenceArgs exact_args = world.reference_args();
  const ReferenceArgs naive_args = world.reference_args(ReferenceRounding::kNaiveBf16);
  const auto heads = static_cast<std::size_t>(world.shape.heads);
  const auto dim = static_cast<std::size_t>(world.shape.head_dim);
  for (std::size_t s = 0; s < world.sequences.size(); ++s) {
    const SequencePlan& plan = world.sequences[s]->plan;
    const ReferenceOutput exact = reference_attention(plan, exact_args);
    const double tolerance = output_tolerance(exact, reference_attention(plan, naive_args));
    const std::string where = what + " sequence " + std::to_string(s);
    double worst = 0.0;
    for (std::size_t i = 0; i < heads * dim; ++i) {
      const double got = double{float_from_bf16(out.o[s * heads * dim + i])};
      const double error = std::abs(got - exact.o[i]);
      worst = error <= worst ? worst : error;  // NaN is worst
      if (std::isnan(error)) worst = std::numeric_limits<double>::infinity();
    }
    EXPECT_LE(worst, tolerance) << where;
    for (std::size_t h = 0; h < heads; ++h) {
      const std::size_t at = s * heads + h;
      expect_lse(out.lse_context[at], exact.lse_context[h], where + " lse_context");
      expect_lse(out.lse_anchor[at], exact.lse_anchor[h], where + " lse_anchor");
      expect_lse(out.lse_joint[at], exact.lse_joint[h], where + " lse_joint");
      double sum = 0.0;
      for (std::size_t c = 0; c < kKvClasses; ++c) {
        const float mass = out.mass[at * kKvClasses + c];
        EXPECT_NEAR(double{mass}, exact.mass[h * kKvClasses + c], 1e-4) << where << " mass " << c;
        sum += double{mass};
      }
      const bool empty = std::isinf(exact.lse_joint[h]);
      EXPECT_NEAR(sum, empty ? 0.0 : 1.0, 1e-6) << where;
    }
  }
}

}  // namespace fieldprint::testing
