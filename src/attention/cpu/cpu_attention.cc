#include "attention/cpu/cpu_attention.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <new>
#include <string>
#include <vector>

#include "attention/cpu/kernel.h"
#include "attention/cpu/merge.h"
#include "attention/cpu/work_list.h"
#include "core/check.h"

namespace fieldprint {
namespace {

constexpr float kLog2e = 1.44269504088896341F;
constexpr int kMaxHeadDim = 512;
constexpr int kMaxGroup = 32;

// A growing array of 64-byte aligned memory; growing loses the contents.
template <typename T>
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  ~AlignedBuffer() { ::operator delete(data_, kAlignment); }
  void reserve(std::size_t count) {
    if (count <= capacity_) return;
    void* grown = ::operator new(count * sizeof(T), kAlignment);
    ::operator delete(data_, kAlignment);
    data_ = static_cast<T*>(grown);
    capacity_ = count;
  }
  T* data() const { return data_; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  T* data_ = nullptr;
  std::size_t capacity_ = 0;
};

// One thread's memory, sized for the largest tile.
struct ThreadScratch {
  AlignedBuffer<std::byte> q;       // the tile's query rows, packed
  AlignedBuffer<std::byte> kernel;  // the kernel's own
  AlignedBuffer<float> states;      // leaf, flat or context, anchor
};

}  // namespace

struct CpuAttention::Impl {
  explicit Impl(const CpuAttentionOptions& o, const KernelTable* table)
      : options(o),
        group(o.shape.heads / o.shape.kv_heads),
        kernel(table),
        work(o.shape.kv_heads, group, o.shape.head_dim),
        threads(static_cast<std::size_t>(o.max_threads)) {
    for (ThreadScratch& s : threads) reserve_thread(s);
  }

  void reserve_thread(ThreadScratch& s) const;
  void reset_counters();
  AttentionState carve_state(float* memory, int rows) const;
  LeafArgs leaf_args(const CpuLayerArgs& args, const QueryTile& tile, int kv_head,
                     const LeafRef& ref) const;
  void pack_queries(const CpuLayerArgs& args, const QueryTile& tile, int kv_head, void* q) const;
  void set_next(const CpuLayerArgs& args, const WorkItem& next, LeafArgs* leaf) const;
  void run_whole(const CpuLayerArgs& args, const WorkItem& item, ThreadScratch& scratch);
  // `next`: the item this thread does after this one, if it has it already.
  void run_split(const CpuLayerArgs& args, const WorkItem& item, const WorkItem* next,
                 ThreadScratch& scratch);
  void merge(const CpuLayerArgs& args, const QueryTile& tile, int kv_head, ThreadScratch& scratch);
  TileTotals begin_totals(const QueryTile& tile, ThreadScratch& scratch) const;
  void write(const CpuLayerArgs& args, const QueryTile& tile, int kv_head,
             const TileTotals& totals);

  CpuAttentionOptions options;
  int group;
  const KernelTable* kernel;
  WorkList work;
  std::vector<ThreadScratch> threads;
  AlignedBuffer<float> partials;
  // Per layer: ticket, calls, then one "leaves left" per (split tile, KV head).
  std::unique_ptr<std::atomic<std::int32_t>[]> counters;
  std::size_t counter_capacity = 0;
  std::size_t counter_stride = 0;
  // [sequences][heads][kKvClasses]: last query's mass summed over layers. A slot has
  // one writer per layer, and layers are ordered, so plain floats suffice.
  std::vector<float> mass_slots;
};

namespace {
constexpr std::size_t kTicket = 0;
constexpr std::size_t kCalls = 1;
constexpr std::size_t kFirstCounter = 16;  // a cache line after the ticket
}  // namespace

void CpuAttention::Impl::reserve_thread(ThreadScratch& s) const {
  const auto rows = static_cast<std::size_t>(work.max_tile_rows());
  const auto dim = static_cast<std::size_t>(options.shape.head_dim);
  s.q.reserve(rows * dim * kernel->q_element_bytes);
  s.kernel.reserve(kernel->scratch_bytes(options.shape.head_dim));
  s.states.reserve(5 * work.state_floats(work.max_tile_rows()));
}

AttentionState CpuAttention::Impl::carve_state(float* memory, int rows) const {
  AttentionState s;
  s.o = memory;
  s.cls = s.o + std::ptrdiff_t{rows} * options.shape.head_dim;
  s.m = s.cls + std::ptrdiff_t{rows} * kKvClasses;
  s.l = s.m + rows;
  return s;
}

void CpuAttention::Impl::reset_counters() {
  counter_stride = (kFirstCounter + static_cast<std::size_t>(work.counters()) + 15) / 16 * 16;
  const std::size_t count = counter_stride * static_cast<std::size_t>(options.layers);
  if (count > counter_capacity) {
    counters = std::make_unique<std::atomic<std::int32_t>[]>(count);
    counter_capacity = count;
  }
  for (std::size_t i = 0; i < count; ++i) counters[i].store(0, std::memory_order_relaxed);
  for (const QueryTile& tile : work.tiles()) {
    if (!tile.split) continue;
    for (std::size_t layer = 0; layer < static_cast<std::size_t>(options.layers); ++layer) {
      for (int g = 0; g < options.shape.kv_heads; ++g) {
        counters[layer * counter_stride + kFirstCounter + tile.counter + g].store(
            tile.leaves, std::memory_order_relaxed);
      }
    }
  }
}

LeafArgs CpuAttention::Impl::leaf_args(const CpuLayerArgs& args, const QueryTile& tile, int kv_head,
                                       const LeafRef& ref) const {
  const SequencePlan& plan = work.plans()[static_cast<std::size_t>(tile.sequence)];
  const AttentionShape& shape = options.shape;
  LeafArgs leaf;
  leaf.rows = tile.tokens * group;
  leaf.rows_per_token = group;
  leaf.head_dim = shape.head_dim;
  leaf.first_query_pos = plan.first_query_pos + tile.first_token;
  leaf.window = args.window;
  leaf.pages = (ref.is_anchor ? plan.anchor.pages : plan.pages).data() + ref.leaf->first_page;
  leaf.page_count = ref.leaf->page_count;
  leaf.kv =
      args.kv.base + kv_head_offset({shape.kv_heads, shape.head_dim, options.kv_dtype}, kv_head);
  leaf.page_stride = args.kv.page_stride_bytes;
  leaf.score_scale = shape.scale * kLog2e;
  if (ref.is_anchor && plan.anchor.beta != nullptr) {
    leaf.beta = plan.anchor.beta +
                std::ptrdiff_t{args.layer * shape.kv_heads + kv_head} * plan.anchor.beta_stride +
                std::ptrdiff_t{ref.leaf->first_page} * kPageRows;
  }
  return leaf;
}

void CpuAttention::Impl::pack_queries(const CpuLayerArgs& args, const QueryTile& tile, int kv_head,
                                      void* q) const {
  const AttentionShape& shape = options.shape;
  const SequencePlan& plan = work.plans()[static_cast<std::size_t>(tile.sequence)];
  const int count = group * shape.head_dim;  // a token's heads of this group are adjacent
  for (int t = 0; t < tile.tokens; ++t) {
    const std::ptrdiff_t token = plan.first_query + tile.first_token + t;
    const float* from = args.q + (token * shape.heads + kv_head * group) * shape.head_dim;
    auto* to = static_cast<std::byte*>(q) + static_cast<std::size_t>(t) *
                                                static_cast<std::size_t>(count) *
                                                kernel->q_element_bytes;
    kernel->pack_q(from, to, count);
  }
}

TileTotals CpuAttention::Impl::begin_totals(const QueryTile& tile, ThreadScratch& scratch) const {
  const int rows = tile.tokens * group;
  const std::size_t size = work.state_floats(rows);
  const SequencePlan& plan = work.plans()[static_cast<std::size_t>(tile.sequence)];
  const AnchorMode mode = plan.anchor.leaves.empty() ? AnchorMode::kJoint : plan.anchor.mode;
  float* memory = scratch.states.data() + size;  // the first is the leaf's
  TileTotals totals;
  totals.rows = rows;
  totals.joint = mode == AnchorMode::kJoint;
  totals.flat = carve_state(memory, rows);
  totals.context = carve_state(memory + size, rows);
  totals.anchor = carve_state(memory + 2 * size, rows);
  if (totals.joint) {
    // One flat fold carries the output; the sides are folded for their log-sum-exps.
    totals.context.o = totals.context.cls = nullptr;
    totals.anchor.o = totals.anchor.cls = nullptr;
  }
  constexpr float kEmpty = -std::numeric_limits<float>::infinity();
  for (const AttentionState& s : {totals.flat, totals.context, totals.anchor}) {
    std::fill_n(s.m, rows, kEmpty);
  }
  return totals;
}

void CpuAttention::Impl::run_whole(const CpuLayerArgs& args, const WorkItem& item,
                                   ThreadScratch& scratch) {
  const QueryTile& tile = work.tiles()[static_cast<std::size_t>(item.tile)];
  const TileTotals totals = begin_totals(tile, scratch);
  const AttentionState part = carve_state(scratch.states.data(), totals.rows);
  pack_queries(args, tile, item.kv_head, scratch.q.data());
  for (int position = 0; position < tile.leaves; ++position) {
    const LeafRef ref = work.leaf_at(tile, position);
    LeafArgs leaf = leaf_args(args, tile, item.kv_head, ref);
    leaf.q = scratch.q.data();
    if (position + 1 < tile.leaves) set_next(args, {item.tile, item.kv_head, position + 1}, &leaf);
    kernel->leaf(leaf, scratch.kernel.data(), part);
    fold_leaf(*kernel, options.shape.head_dim, part, ref.is_anchor, totals);
  }
  write(args, tile, item.kv_head, totals);
}

void CpuAttention::Impl::set_next(const CpuLayerArgs& args, const WorkItem& next,
                                  LeafArgs* leaf) const {
  const QueryTile& tile = work.tiles()[static_cast<std::size_t>(next.tile)];
  if (tile.leaves == 0) return;
  const LeafArgs after =
      leaf_args(args, tile, next.kv_head, work.leaf_at(tile, std::max(next.leaf, 0)));
  leaf->next_pages = after.pages;
  leaf->next_page_count = after.page_count;
  leaf->next_kv = after.kv;
}

void CpuAttention::Impl::run_split(const CpuLayerArgs& args, const WorkItem& item,
                                   const WorkItem* next, ThreadScratch& scratch) {
  const QueryTile& tile = work.tiles()[static_cast<std::size_t>(item.tile)];
  const int rows = tile.tokens * group;
  pack_queries(args, tile, item.kv_head, scratch.q.data());
  LeafArgs leaf = leaf_args(args, tile, item.kv_head, work.leaf_at(tile, item.leaf));
  leaf.q = scratch.q.data();
  if (next != nullptr) set_next(args, *next, &leaf);
  const std::size_t slot = static_cast<std::size_t>(item.kv_head) * tile.leaves + item.leaf;
  float* memory = partials.data() + tile.partial_offset + slot * work.state_floats(rows);
  kernel->leaf(leaf, scratch.kernel.data(), carve_state(memory, rows));
  auto& left = counters[static_cast<std::size_t>(args.layer) * counter_stride + kFirstCounter +
                        static_cast<std::size_t>(tile.counter + item.kv_head)];
  // Acquire-release: the last one in sees every other thread's partial states.
  if (left.fetch_sub(1, std::memory_order_acq_rel) == 1) merge(args, tile, item.kv_head, scratch);
}

void CpuAttention::Impl::merge(const CpuLayerArgs& args, const QueryTile& tile, int kv_head,
                               ThreadScratch& scratch) {
  const TileTotals totals = begin_totals(tile, scratch);
  const std::size_t size = work.state_floats(totals.rows);
  float* memory = partials.data() + tile.partial_offset +
                  static_cast<std::size_t>(kv_head) * tile.leaves * size;
  for (int position = 0; position < tile.leaves; ++position, memory += size) {
    fold_leaf(*kernel, options.shape.head_dim, carve_state(memory, totals.rows),
              work.leaf_at(tile, position).is_anchor, totals);
  }
  write(args, tile, kv_head, totals);
}

void CpuAttention::Impl::write(const CpuLayerArgs& args, const QueryTile& tile, int kv_head,
                               const TileTotals& totals) {
  const SequencePlan& plan = work.plans()[static_cast<std::size_t>(tile.sequence)];
  const AttentionShape& shape = options.shape;
  RowWriter writer{shape.head_dim, totals, &plan.anchor};
  for (int r = 0; r < totals.rows; ++r) {
    const int token = tile.first_token + r / group;
    const int head = kv_head * group + r % group;
    const std::ptrdiff_t at = std::ptrdiff_t{plan.first_query + token} * shape.heads + head;
    const double gamma = plan.anchor.gamma == nullptr
                             ? 0.0
                             : double{plan.anchor.gamma[args.layer * shape.heads + head]};
    const RowResult row = writer.write(r, gamma, args.out + at * shape.head_dim);
    if (args.lse_context != nullptr) args.lse_context[at] = static_cast<float>(row.lse_context);
    if (args.lse_anchor != nullptr) args.lse_anchor[at] = static_cast<float>(row.lse_anchor);
    if (args.lse_joint != nullptr) args.lse_joint[at] = static_cast<float>(row.lse_joint);
    if (args.mass != nullptr) std::copy_n(row.mass, kKvClasses, args.mass + at * kKvClasses);
    if (token + 1 != plan.query_count) continue;
    float* slot =
        mass_slots.data() + (std::ptrdiff_t{tile.sequence} * shape.heads + head) * kKvClasses;
    for (int c = 0; c < kKvClasses; ++c) slot[c] += row.mass[c];
  }
}

CpuAttention::CpuAttention(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
CpuAttention::~CpuAttention() = default;

Result<std::unique_ptr<CpuAttention>> CpuAttention::create(const CpuAttentionOptions& options) {
  const AttentionShape& s = options.shape;
  const bool shape_ok = s.kv_heads > 0 && s.heads > 0 && s.heads % s.kv_heads == 0 &&
                        s.heads / s.kv_heads <= kMaxGroup && s.head_dim > 0 &&
                        s.head_dim % kPageRows == 0 && s.head_dim <= kMaxHeadDim &&
                        std::isfinite(s.scale) && s.scale > 0.0F && options.layers > 0 &&
                        options.max_threads > 0;
  if (!shape_ok) {
    return fail(ErrorKind::kUnsupported, "attention_shape_unsupported",
                "attention needs head_dim a multiple of 16 up to 512 and at most 32 heads per KV "
                "head; this model has head_dim " +
                    std::to_string(s.head_dim) + ", " + std::to_string(s.heads) + " heads, " +
                    std::to_string(s.kv_heads) + " KV heads");
  }
  const CpuIsa isa = options.isa.value_or(best_cpu_isa());
  if (!cpu_isa_available(isa)) {
    return fail(ErrorKind::kUnsupported, "attention_isa_unavailable",
                "this machine or build has no " + std::string(cpu_isa_name(isa)) +
                    " attention kernel; leave the choice automatic");
  }
  auto impl = std::make_unique<Impl>(options, find_kernel(isa, options.kv_dtype));
  return std::unique_ptr<CpuAttention>(new CpuAttention(std::move(impl)));
}

Status CpuAttention::prepare(std::span<const SequencePlan> plans, int threads) {
  FP_CHECK(threads >= 1 && threads <= impl_->options.max_threads);
  try {
    impl_->work.build(plans, threads);
    impl_->partials.reserve(impl_->work.partial_floats());
    impl_->reset_counters();
    impl_->mass_slots.assign(
        plans.size() * static_cast<std::size_t>(impl_->options.shape.heads) * kKvClasses, 0.0F);
  } catch (const std::bad_alloc&) {
    return fail(ErrorKind::kExhausted, "attention_scratch",
                "out of memory for attention scratch; lower the tokens per step");
  }
  return {};
}

void CpuAttention::run(const CpuLayerArgs& args, int thread, int threads) {
  Impl& impl = *impl_;
  FP_CHECK(thread >= 0 && thread < threads && threads <= impl.options.max_threads);
  FP_CHECK(args.layer >= 0 && args.layer < impl.options.layers);
  FP_CHECK(args.kv.dtype == impl.options.kv_dtype && args.window >= 0);
  std::atomic<std::int32_t>* layer =
      impl.counters.get() + static_cast<std::size_t>(args.layer) * impl.counter_stride;
  // A layer run twice would find its tickets gone and leave `out` untouched.
  FP_CHECK(layer[kCalls].fetch_add(1, std::memory_order_relaxed) < threads);
  const auto items = impl.work.items();
  ThreadScratch& scratch = impl.threads[static_cast<std::size_t>(thread)];
  const auto take = [&] {
    const auto ticket =
        static_cast<std::size_t>(layer[kTicket].fetch_add(1, std::memory_order_relaxed));
    return ticket < items.size() ? &items[ticket] : nullptr;
  };
  for (const WorkItem* item = take(); item != nullptr;) {
    if (item->leaf < 0) {
      impl.run_whole(args, *item, scratch);
      item = take();
      continue;
    }
    // Taking the next item early tells the kernel what to fetch ahead; near the end it
    // would keep work from an idle thread.
    const auto index = static_cast<std::size_t>(item - items.data());
    const bool early = index + 2 * static_cast<std::size_t>(threads) < items.size();
    const WorkItem* next = early ? take() : nullptr;
    impl.run_split(args, *item, next, scratch);
    item = early ? next : take();
  }
}

void CpuAttention::finish(std::span<float> mass) const {
  const auto heads = static_cast<std::size_t>(impl_->options.shape.heads);
  FP_CHECK(mass.size() * heads == impl_->mass_slots.size());
  for (std::size_t s = 0; s < mass.size() / kKvClasses; ++s) {
    double sum[kKvClasses] = {};
    double total = 0.0;
    for (std::size_t i = 0; i < heads * kKvClasses; ++i) {
      sum[i % kKvClasses] += double{impl_->mass_slots[s * heads * kKvClasses + i]};
    }
    for (const double x : sum) total += x;
    for (int c = 0; c < kKvClasses; ++c) {
      mass[s * kKvClasses + c] = total > 0.0 ? static_cast<float>(sum[c] / total) : 0.0F;
    }
  }
}

CpuIsa CpuAttention::isa() const { return impl_->kernel->isa; }

}  // namespace fieldprint
