// Random histories of pool, tables and prefix index against a naive model: each
// sequence is a plain list of rows, and a fake device stores every row's contents. A
// page shared, evicted or copied wrongly shows as a sequence that reads back something
// else than it wrote.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>

#include "kv/block_pool.h"
#include "kv/block_table.h"
#include "kv/prefix_index.h"

namespace fieldprint {
namespace {

struct Row {
  std::int32_t token = -1;
  std::int32_t pos = -1;
  KvClass cls = KvClass::kReserved;
  std::uint64_t past = 0;  // hash of all rows before: K and V depend on the whole past
  bool operator==(const Row&) const = default;
};
void showValue(const Row& row, std::ostream& os) { os << row.token << "@" << row.pos; }

// The whole range from the first run on: by default rapidcheck starts near the low end.
template <typename T>
T any_in(T low, T high) {
  return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange(low, high));
}

std::uint64_t after(const Row& row) {
  std::uint64_t hash = row.past ^ 0x9E3779B97F4A7C15ULL;
  for (const std::int32_t part : {row.token, row.pos, static_cast<std::int32_t>(row.cls)}) {
    hash = (hash ^ static_cast<std::uint64_t>(part)) * 0x100000001B3ULL;
  }
  return hash;
}

class FakeDevice {
 public:
  explicit FakeDevice(std::int32_t pages) : pages_(static_cast<std::size_t>(pages)) {}
  Row& at(PageId page, std::int32_t row) {
    return pages_[static_cast<std::size_t>(page)][static_cast<std::size_t>(row)];
  }
  void copy(const PageCopy& order) {
    pages_[static_cast<std::size_t>(order.to)] = pages_[static_cast<std::size_t>(order.from)];
  }

 private:
  std::vector<std::array<Row, kPageRows>> pages_;
};

struct Sequence {
  std::unique_ptr<BlockTable> table;
  PrefixChain chain;
  std::vector<Row> rows;           // the model
  std::vector<std::int32_t> cuts;  // the model's leaf cuts
  std::int32_t floor = 0;          // anchor gap ends here
};

class World {
 public:
  explicit World(std::int32_t pages) : pool_(pages), index_(pool_), device_(pages) {}

  void step() {
    const int action = any_in(0, 13);
    if (sequences_.empty() || action == 0) {
      start();
    } else if (action <= 4) {
      append(pick());
    } else if (action == 5) {
      fork(pick());
    } else if (action <= 7) {
      rewind(pick());
    } else if (action <= 9) {
      finish();
    } else if (action == 10) {
      cut(pick());
    } else if (action == 11) {
      interleave();
    } else {
      index_.clear();
    }
    audit();
  }

  void end() {
    sequences_.clear();
    audit();
    index_.clear();
    RC_ASSERT(pool_.free_count() == pool_.page_count());
  }

 private:
  Sequence& pick() { return sequences_[any_in(std::size_t{0}, sequences_.size())]; }
  // Few token values and classes, so that prefixes meet often.
  static std::vector<AppendRun> random_runs() {
    std::vector<AppendRun> runs;
    const int n = any_in(1, 4);
    for (int i = 0; i < n; ++i) {
      runs.push_back({static_cast<KvClass>(any_in(2, 4)), any_in(0, 40)});
    }
    return runs;
  }

  std::vector<Row> rows_for(const Sequence& s, const std::vector<AppendRun>& runs) {
    std::vector<Row> rows;
    std::uint64_t past = s.rows.empty() ? 0 : after(s.rows.back());
    std::int32_t pos = s.table->length();
    for (const AppendRun& run : runs) {
      // Constant within a run: equal prefixes are then likely.
      const std::int32_t token = any_in(0, 2);
      for (std::int32_t i = 0; i < run.tokens; ++i) {
        rows.push_back(Row{token, pos++, run.cls, past});
        past = after(rows.back());
      }
    }
    return rows;
  }

  static std::vector<std::int32_t> tokens_of(const Sequence& s) {
    std::vector<std::int32_t> tokens;
    for (const Row& row : s.rows) tokens.push_back(row.token);
    return tokens;
  }

  struct Before {
    std::vector<PageEntry> pages;
    std::int32_t length, free, used, cached;
  };
  Before snapshot(const Sequence& s) const {
    const auto pages = s.table->page_entries();
    return {{pages.begin(), pages.end()},
            s.table->length(),
            pool_.free_count(),
            pool_.used_count(),
            pool_.cached_count()};
  }

  // plan, commit; on refusal nothing may have moved. Gives the rows' slots to write.
  std::optional<AppendedRows> commit(Sequence& s, const std::vector<AppendRun>& runs) {
    const Before before = snapshot(s);
    const AppendPlan plan = s.table->plan(runs);
    const std::int32_t available = pool_.available();
    auto appended = s.table->commit(runs);
    if (!appended) {
      RC_ASSERT(plan.new_pages > available);
      RC_ASSERT(appended.error().code == std::string("kv_exhausted"));
      const Before now = snapshot(s);
      RC_ASSERT(now.length == before.length);
      RC_ASSERT(now.free == before.free && now.used == before.used);
      RC_ASSERT(now.cached == before.cached);
      RC_ASSERT(now.pages.size() == before.pages.size());
      for (std::size_t i = 0; i < now.pages.size(); ++i) {
        RC_ASSERT(now.pages[i].page == before.pages[i].page);
        RC_ASSERT(now.pages[i].rows == before.pages[i].rows);
      }
      return std::nullopt;
    }
    RC_ASSERT(plan.new_pages <= available);
    RC_ASSERT(plan.copies_last_page == appended->copy.has_value());
    return std::move(*appended);
  }

  void write(Sequence& s, const std::vector<Row>& rows, const AppendedRows& appended) {
    RC_ASSERT(appended.slots.size() == rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      device_.at(appended.slots[i].page, appended.slots[i].row) = rows[i];
    }
    s.rows.insert(s.rows.end(), rows.begin(), rows.end());
  }
  void learn(Sequence& s) { index_.insert_closed(s.chain, *s.table, tokens_of(s)); }

  void start() {
    if (sequences_.size() >= 6) return;
    Sequence s;
    const bool anchored = any_in(0, 3) == 0;
    s.floor = anchored ? 21 : 0;
    s.table = std::make_unique<BlockTable>(pool_, 0);
    if (anchored) s.table->skip_to(s.floor);
    const std::string salt(static_cast<std::size_t>(any_in(0, 2)), 'x');
    const PrefixChain root = PrefixIndex::root(salt, "", s.floor);
    s.chain = root;
    const std::vector<AppendRun> runs = random_runs();
    const std::vector<Row> prompt = rows_for(s, runs);
    const std::vector<std::int32_t> tokens = [&] {
      std::vector<std::int32_t> all;
      for (const Row& row : prompt) all.push_back(row.token);
      return all;
    }();
    std::vector<PrefixSpan> spans;
    std::size_t offset = 0;
    for (const AppendRun& run : runs) {
      const auto n = static_cast<std::size_t>(run.tokens);
      spans.push_back({run.cls, std::span(tokens).subspan(offset, n)});
      offset += n;
    }
    PrefixMatch match = index_.lookup(root, spans);
    RC_ASSERT(match.tokens == 0 || match.tokens < static_cast<std::int32_t>(prompt.size()));
    s.table->adopt(match.pages);
    s.chain = match.chain;
    s.rows.assign(prompt.begin(), prompt.begin() + match.tokens);
    std::vector<AppendRun> rest = runs;
    std::int32_t known = match.tokens;
    for (AppendRun& run : rest) {
      const std::int32_t skipped = std::min(known, run.tokens);
      run.tokens -= skipped;
      known -= skipped;
    }
    const auto appended = commit(s, rest);
    if (appended) {
      RC_ASSERT(!appended->copy || match.tokens > 0);
      if (appended->copy) device_.copy(*appended->copy);
      write(s, {prompt.begin() + match.tokens, prompt.end()}, *appended);
      learn(s);
    }
    sequences_.push_back(std::move(s));
  }

  void append(Sequence& s) {
    const std::vector<AppendRun> runs = random_runs();
    const std::vector<Row> rows = rows_for(s, runs);
    const auto appended = commit(s, runs);
    if (!appended) return;
    if (appended->copy) device_.copy(*appended->copy);
    write(s, rows, *appended);
    learn(s);
  }

  // Two appends in one step: both commit, then both copy, then both write.
  void interleave() {
    if (sequences_.size() < 2) return;
    Sequence& a = sequences_.front();
    Sequence& b = sequences_.back();
    const std::vector<AppendRun> runs = random_runs();
    const std::vector<Row> rows_a = rows_for(a, runs);
    const std::vector<Row> rows_b = rows_for(b, runs);
    const auto appended_a = commit(a, runs);
    const auto appended_b = commit(b, runs);
    if (appended_a && appended_a->copy) device_.copy(*appended_a->copy);
    if (appended_b && appended_b->copy) device_.copy(*appended_b->copy);
    if (appended_b) write(b, rows_b, *appended_b);
    if (appended_a) write(a, rows_a, *appended_a);
    if (appended_a) learn(a);
    if (appended_b) learn(b);
  }

  void fork(const Sequence& s) {
    if (sequences_.size() >= 6) return;
    Sequence copy;
    copy.table = std::make_unique<BlockTable>(s.table->fork());
    copy.chain = s.chain;
    copy.rows = s.rows;
    copy.cuts = s.cuts;
    copy.floor = s.floor;
    sequences_.push_back(std::move(copy));
  }

  void rewind(Sequence& s) {
    const std::int32_t length = any_in(s.floor, s.table->length() + 1);
    s.table->truncate(length);
    s.chain.truncate(length);
    s.rows.resize(static_cast<std::size_t>(length - s.floor));
    std::erase_if(s.cuts, [&](std::int32_t cut) { return cut > length; });
  }

  void finish() {
    sequences_.erase(sequences_.begin() + any_in(std::size_t{0}, sequences_.size()));
  }

  void cut(Sequence& s) {
    s.table->cut_leaf();
    if (s.cuts.empty() || s.cuts.back() != s.table->length()) s.cuts.push_back(s.table->length());
  }

  // Layout from the model alone: what pages and leaves must look like.
  static void check_layout(const Sequence& s) {
    std::vector<int> page_rows;
    std::vector<std::int32_t> leaf_pages;
    for (std::size_t i = 0; i < s.rows.size(); ++i) {
      const bool cut_here = std::ranges::count(s.cuts, s.rows[i].pos) > 0;
      if (i == 0 || cut_here || s.rows[i].cls != s.rows[i - 1].cls || page_rows.back() == 16) {
        page_rows.push_back(0);
        if (i == 0 || cut_here || leaf_pages.back() == kLeafPages) leaf_pages.push_back(0);
        ++leaf_pages.back();
      }
      ++page_rows.back();
    }
    const auto pages = s.table->page_entries();
    const auto leaves = s.table->leaves();
    RC_ASSERT(pages.size() == page_rows.size());
    for (std::size_t i = 0; i < pages.size(); ++i) RC_ASSERT(pages[i].rows == page_rows[i]);
    RC_ASSERT(leaves.size() == leaf_pages.size());
    std::int32_t first = 0;
    for (std::size_t i = 0; i < leaves.size(); ++i) {
      RC_ASSERT(leaves[i].first_page == first);
      RC_ASSERT(leaves[i].page_count == leaf_pages[i]);
      first += leaves[i].page_count;
    }
  }

  void check_contents(const Sequence& s) {
    std::vector<Row> read;
    for (const PageEntry& entry : s.table->page_entries()) {
      for (std::int32_t row = 0; row < entry.rows; ++row) {
        read.push_back(device_.at(entry.page, row));
        RC_ASSERT(read.back().cls == entry.cls);
        RC_ASSERT(read.back().pos == entry.first_pos + row);
      }
    }
    RC_ASSERT(read == s.rows);
  }

  void audit() {
    std::vector<const BlockTable*> tables;
    for (const Sequence& s : sequences_) {
      tables.push_back(s.table.get());
      check_layout(s);
      check_contents(s);
    }
    RC_ASSERT(check_references(pool_, tables).has_value());
    RC_ASSERT(pool_.check_integrity().has_value());
    RC_ASSERT(index_.check_integrity().has_value());
  }

  BlockPool pool_;
  PrefixIndex index_;
  FakeDevice device_;
  std::vector<Sequence> sequences_;
};

RC_GTEST_PROP(KvProperty, EverySequenceReadsBackItsOwnRows, ()) {
  for (int round = 0; round < 4; ++round) {
    World world(any_in(1, 48));
    const int steps = any_in(1, 120);
    for (int i = 0; i < steps; ++i) world.step();
    world.end();
  }
}

}  // namespace
}  // namespace fieldprint
