#include "attention/cuda/harness.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <map>

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

// The anchor is merged, and the reduction starts afresh, after the leaves before it.
void add_cuts(DeviceBatch& batch, const SequencePlan& plan, const Packer::Placed& placed) {
  std::size_t before = 0;  // 16-row pages
  for (int leaf = 0; leaf < plan.leaves_before_anchor; ++leaf) {
    before += static_cast<std::size_t>(plan.leaves[static_cast<std::size_t>(leaf)].page_count);
  }
  const int cut = before < placed.slot.size() ? placed.slot[before] / batch.shape.page_rows
                                              : static_cast<int>(placed.table.size());
  batch.cuts.insert(batch.cuts.end(), {cut, cut});
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

template <typename T>
std::vector<T> part(const std::vector<T>& from, int index, int batch) {
  const auto width = static_cast<std::ptrdiff_t>(from.size()) / batch;
  return {from.begin() + index * width, from.begin() + (index + 1) * width};
}

template <typename T>
std::vector<T> stretch(const std::vector<T>& from, std::size_t width, int first, int last) {
  return {from.begin() + static_cast<std::ptrdiff_t>(width) * first,
          from.begin() + static_cast<std::ptrdiff_t>(width) * last};
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
  if (world.window != 0) return world;
  for (auto& sequence : world.sequences) sequence->plan.first_query_pos = 1 << 24;
  return world;
}

DeviceBatch lay_out_for_device(const AttentionWorld& world, int page_rows, std::uint64_t seed) {
  DeviceBatch batch;
  batch.shape = {world.shape.head_dim, world.shape.heads, world.shape.kv_heads, page_rows};
  batch.scale = world.shape.scale;
  batch.window = world.window;
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
    const Packer::Placed placed = packer.place(plan.pages);
    tables.add(placed);
    add_cuts(batch, plan, placed);
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

DeviceOutput slice(const DeviceOutput& out, const DeviceBatch& batch, int index) {
  const int n = batch.batch();
  return {part(out.o, index, n),          part(out.lse_context, index, n),
          part(out.lse_anchor, index, n), part(out.lse_joint, index, n),
          part(out.mass, index, n),       out.table_status};
}

DeviceBatch cut_queries(const DeviceBatch& batch, const std::vector<int>& from,
                        const std::vector<int>& to) {
  DeviceBatch cut = batch;
  cut.q.clear();
  cut.query_starts.assign(1, 0);
  const auto width = static_cast<std::ptrdiff_t>(batch.shape.q_heads) * batch.shape.head_dim;
  for (std::size_t i = 0; i < from.size(); ++i) {
    const auto first = batch.q.begin() + width * (batch.query_starts[i] + from[i]);
    cut.q.insert(cut.q.end(), first, first + width * (to[i] - from[i]));
    cut.query_starts.push_back(cut.query_starts.back() + to[i] - from[i]);
    cut.first_positions[i] += from[i];
  }
  return cut;
}

DeviceOutput rows_of(const DeviceOutput& out, const DeviceBatch& batch, int first, int last) {
  const auto heads = static_cast<std::size_t>(batch.shape.q_heads);
  const std::size_t width = heads * static_cast<std::size_t>(batch.shape.head_dim);
  return {stretch(out.o, width, first, last),
          stretch(out.lse_context, heads, first, last),
          stretch(out.lse_anchor, heads, first, last),
          stretch(out.lse_joint, heads, first, last),
          stretch(out.mass, heads * kKvClasses, first, last),
          out.table_status};
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
    const std::size_t first = static_cast<std::size_t>(plan.first_query) * heads;
    double worst = 0.0;
    std::size_t worst_at = 0;
    for (std::size_t i = 0; i < exact.o.size(); ++i) {
      const double error = std::abs(double{float_from_bf16(out.o[first * dim + i])} - exact.o[i]);
      if (error <= worst) continue;  // NaN is worst
      worst = std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
      worst_at = i;
    }
    EXPECT_LE(worst, tolerance) << where << " query " << worst_at / dim / heads << " head "
                                << worst_at / dim % heads << " column " << worst_at % dim;
    for (std::size_t h = 0; h < exact.lse_joint.size(); ++h) {
      const std::size_t at = first + h;
      const std::string row =
          where + " query " + std::to_string(h / heads) + " head " + std::to_string(h % heads);
      expect_lse(out.lse_context[at], exact.lse_context[h], row + " lse_context");
      expect_lse(out.lse_anchor[at], exact.lse_anchor[h], row + " lse_anchor");
      expect_lse(out.lse_joint[at], exact.lse_joint[h], row + " lse_joint");
      double sum = 0.0;
      for (std::size_t c = 0; c < kKvClasses; ++c) {
        const float mass = out.mass[at * kKvClasses + c];
        EXPECT_NEAR(double{mass}, exact.mass[h * kKvClasses + c], 1e-4) << row << " mass " << c;
        sum += double{mass};
      }
      EXPECT_NEAR(sum, std::isinf(exact.lse_joint[h]) ? 0.0 : 1.0, 1e-6) << row;
      if (::testing::Test::HasFailure()) return;  // one row's failures say enough
    }
  }
}

}  // namespace fieldprint::testing
