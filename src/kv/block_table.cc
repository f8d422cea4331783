#include "kv/block_table.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/check.h"

namespace fieldprint {
namespace {

std::int32_t pages_for(std::int32_t rows) {
  return rows / kPageRows + (rows % kPageRows != 0 ? 1 : 0);
}

}  // namespace

BlockTable::BlockTable(BlockPool& pool, std::int32_t first_pos)
    : pool_(&pool), first_pos_(first_pos), next_pos_(first_pos), floor_(first_pos) {
  FP_CHECK(first_pos >= 0);
}

BlockTable::~BlockTable() { clear(); }

BlockTable::BlockTable(BlockTable&& other) noexcept : pool_(other.pool_) { take_state_of(other); }

BlockTable& BlockTable::operator=(BlockTable&& other) noexcept {
  if (this == &other) return *this;
  clear();
  pool_ = other.pool_;
  take_state_of(other);
  return *this;
}

void BlockTable::take_state_of(BlockTable& other) noexcept {
  first_pos_ = other.first_pos_;
  next_pos_ = std::exchange(other.next_pos_, other.first_pos_);
  floor_ = std::exchange(other.floor_, other.first_pos_);
  pages_ = std::exchange(other.pages_, {});
  leaves_ = std::exchange(other.leaves_, {});
  cuts_ = std::exchange(other.cuts_, {});
}

void BlockTable::clear() {
  while (!pages_.empty()) pop_page();
  cuts_.clear();
  next_pos_ = first_pos_;
  floor_ = first_pos_;
}

std::int32_t BlockTable::room_in_last(KvClass cls) const noexcept {
  if (pages_.empty() || cut_pending() || pages_.back().cls != cls) return 0;
  return kPageRows - pages_.back().rows;
}

AppendPlan BlockTable::plan(std::span<const AppendRun> runs) const noexcept {
  AppendPlan plan;
  std::int32_t room = 0;  // free rows in the page that the next run would continue
  KvClass cls = KvClass::kReserved;
  bool in_old_page = true;
  for (const AppendRun& run : runs) {
    FP_CHECK(run.tokens >= 0);
    if (run.tokens == 0) continue;
    if (in_old_page) {
      room = room_in_last(run.cls);
    } else if (run.cls != cls) {
      room = 0;
    }
    if (in_old_page && room > 0 && !pool_->is_exclusive(pages_.back().page)) {
      plan.copies_last_page = true;
      ++plan.new_pages;
    }
    const std::int32_t rest = std::max(0, run.tokens - room);
    plan.new_pages += pages_for(rest);
    room = rest == 0 ? room - run.tokens : pages_for(rest) * kPageRows - rest;
    cls = run.cls;
    in_old_page = false;
  }
  return plan;
}

AppendPlan BlockTable::plan(KvClass cls, std::int32_t tokens) const noexcept {
  const AppendRun run{cls, tokens};
  return plan(std::span(&run, 1));
}

Result<AppendedRows> BlockTable::commit(std::span<const AppendRun> runs) {
  const AppendPlan needed = plan(runs);
  FP_ASSIGN(const std::vector<PageId> fresh, pool_->allocate(needed.new_pages));
  AppendedRows appended;
  auto next_page = fresh.begin();
  if (needed.copies_last_page) {
    PageEntry& last = pages_.back();
    appended.copy = PageCopy{last.page, *next_page};
    pool_->release(last.page);
    last.page = *next_page++;
  }
  for (const AppendRun& run : runs) {
    for (std::int32_t i = 0; i < run.tokens; ++i) {
      if (room_in_last(run.cls) == 0) push_page(PageEntry{*next_page++, run.cls, 0, next_pos_});
      PageEntry& last = pages_.back();
      appended.slots.push_back(RowSlot{last.page, last.rows});
      ++last.rows;
      ++next_pos_;
    }
  }
  FP_CHECK(next_page == fresh.end());
  return appended;
}

Result<AppendedRows> BlockTable::commit(KvClass cls, std::int32_t tokens) {
  const AppendRun run{cls, tokens};
  return commit(std::span(&run, 1));
}

void BlockTable::push_page(const PageEntry& entry) {
  const bool new_leaf = leaves_.empty() || cut_pending() || leaves_.back().page_count == kLeafPages;
  if (new_leaf) leaves_.push_back(Leaf{static_cast<std::int32_t>(pages_.size()), 0});
  ++leaves_.back().page_count;
  pages_.push_back(entry);
}

void BlockTable::pop_page() {
  pool_->release(pages_.back().page);
  pages_.pop_back();
  if (--leaves_.back().page_count == 0) leaves_.pop_back();
}

BlockTable BlockTable::fork() const {
  BlockTable copy(*pool_, first_pos_);
  for (const PageEntry& entry : pages_) pool_->retain(entry.page);
  copy.next_pos_ = next_pos_;
  copy.floor_ = floor_;
  copy.pages_ = pages_;
  copy.leaves_ = leaves_;
  copy.cuts_ = cuts_;
  return copy;
}

void BlockTable::truncate(std::int32_t length) {
  FP_CHECK(length >= floor_ && length <= next_pos_);
  // From the back, so that the end of a cached prefix is evicted before its start.
  while (!pages_.empty() && pages_.back().first_pos >= length) pop_page();
  while (!cuts_.empty() && cuts_.back() > length) cuts_.pop_back();
  if (!pages_.empty()) {
    PageEntry& last = pages_.back();
    last.rows =
        static_cast<std::uint8_t>(std::min<std::int32_t>(last.rows, length - last.first_pos));
  }
  next_pos_ = length;
}

void BlockTable::adopt(std::span<const PageEntry> entries) {
  for (const PageEntry& entry : entries) {
    FP_CHECK(entry.first_pos == next_pos_ && entry.rows >= 1 && entry.rows <= kPageRows);
    pool_->retain(entry.page);
    push_page(entry);
    next_pos_ += entry.rows;
  }
}

void BlockTable::cut_leaf() {
  if (!cut_pending()) cuts_.push_back(next_pos_);
}

void BlockTable::skip_to(std::int32_t position) {
  FP_CHECK(position >= next_pos_);
  next_pos_ = position;
  floor_ = position;
  cut_leaf();
}

Status check_references(const BlockPool& pool, std::span<const BlockTable* const> tables,
                        std::span<const std::int32_t> extra) {
  std::vector<std::int32_t> expected(static_cast<std::size_t>(pool.page_count()), 0);
  for (std::size_t i = 0; i < extra.size() && i < expected.size(); ++i) expected[i] = extra[i];
  for (const BlockTable* table : tables) {
    for (const PageEntry& entry : table->page_entries()) {
      ++expected[static_cast<std::size_t>(entry.page)];
    }
  }
  for (PageId page = 0; page < pool.page_count(); ++page) {
    const std::int32_t want = expected[static_cast<std::size_t>(page)];
    if (pool.ref_count(page) != want) {
      return fail(ErrorKind::kInternal, "kv_integrity",
                  "KV page " + std::to_string(page) + " has " +
                      std::to_string(pool.ref_count(page)) + " references, tables hold " +
                      std::to_string(want));
    }
  }
  return {};
}

}  // namespace fieldprint
