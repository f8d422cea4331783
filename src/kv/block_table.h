// The KV pages of one sequence, in the layout the attention plan wants.
//
// Layout rules: a page holds rows of one class at consecutive positions. A change of
// class, a leaf cut or a gap in positions starts a new page; the page before may stay
// partly filled for good. A leaf ends at a cut or after kLeafPages pages. So pages and
// leaves depend only on what was appended, never on how it was chunked.
//
// A page that someone else can see (shared by fork, or held by the prefix index) is
// copied before a row is written to it.
//
// Thread rule: one thread, the engine's. The pool must outlive the table.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "attention/plan.h"
#include "core/error.h"
#include "kv/block_pool.h"

namespace fieldprint {

// `tokens` new rows of one class; 0 is allowed and does nothing.
struct AppendRun {
  KvClass cls = KvClass::kUser;
  std::int32_t tokens = 0;
};

// What an append would take from the pool.
struct AppendPlan {
  std::int32_t new_pages = 0;     // the copy's target included
  bool copies_last_page = false;  // the partly filled last page is shared
};

// Order to copy all layers of page `from` to page `to`.
struct PageCopy {
  PageId from = kNoPage;
  PageId to = kNoPage;
};

// A committed append. Run `copy` before the step that writes `slots`, and run the
// copies of several appends in the order of their commits: `from` may already belong
// to another sequence by the end of the step.
struct AppendedRows {
  std::vector<RowSlot> slots;  // one per token, in order
  std::optional<PageCopy> copy;
};

class BlockTable {
 public:
  // The first row goes to position first_pos.
  explicit BlockTable(BlockPool& pool, std::int32_t first_pos = 0);
  ~BlockTable();
  BlockTable(BlockTable&& other) noexcept;
  BlockTable& operator=(BlockTable&& other) noexcept;
  BlockTable(const BlockTable&) = delete;
  BlockTable& operator=(const BlockTable&) = delete;

  // Position of the next row: tokens so far, gaps included.
  std::int32_t length() const { return next_pos_; }
  std::span<const PageEntry> page_entries() const { return pages_; }
  std::span<const Leaf> leaves() const { return leaves_; }

  // What appending these runs would need. No side effect. A commit right after needs
  // exactly this; other tables' commits in between can only lower it.
  AppendPlan plan(std::span<const AppendRun> runs) const noexcept;
  AppendPlan plan(KvClass cls, std::int32_t tokens) const noexcept;

  // Takes the pages and makes room for the rows. All or nothing: on kv_exhausted
  // neither the table nor the pool has changed.
  Result<AppendedRows> commit(std::span<const AppendRun> runs);
  Result<AppendedRows> commit(KvClass cls, std::int32_t tokens);

  // A second sequence with the same past; all pages are shared.
  BlockTable fork() const;

  // Forgets every row at a position >= length and releases the pages left empty.
  // length: from the last skip_to() (or first_pos) to length(). Cuts at positions
  // <= length stay.
  void truncate(std::int32_t length);

  // Appends pages that already hold rows (a prefix match, an anchor's sink page),
  // taking a reference on each. first_pos of each must continue the positions.
  void adopt(std::span<const PageEntry> entries);

  // The next row starts a new page and a new leaf.
  void cut_leaf();
  // Leaves positions length()..position-1 out of the context (the anchor's rows sit
  // there); the next row is at `position`, in a new leaf.
  void skip_to(std::int32_t position);

  // Releases everything; the table is as new at first_pos.
  void clear();

 private:
  bool cut_pending() const { return !cuts_.empty() && cuts_.back() == next_pos_; }
  // Free rows in the last page that a run of `cls` may continue in; 0 if none.
  std::int32_t room_in_last(KvClass cls) const noexcept;
  void push_page(const PageEntry& entry);
  void pop_page();
  void take_state_of(BlockTable& other) noexcept;

  BlockPool* pool_;
  std::int32_t first_pos_;
  std::int32_t next_pos_;
  std::int32_t floor_;  // truncate() may not go below
  std::vector<PageEntry> pages_;
  std::vector<Leaf> leaves_;
  std::vector<std::int32_t> cuts_;  // positions, ascending
};

// Audits that the pool's reference counts are exactly those of `tables` plus
// `extra[page]` (empty: none) references held elsewhere. Errors: kv_integrity.
Status check_references(const BlockPool& pool, std::span<const BlockTable* const> tables,
                        std::span<const std::int32_t> extra = {});

}  // namespace fieldprint
