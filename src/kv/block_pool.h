// Reference counts over the KV pages of a device.
//
// The pool hands out page numbers; the memory belongs to the runner. A page is
//   free    nobody holds it,
//   used    at least one reference (a sequence) or pin (an anchor),
//   cached  held only by the prefix index; evictable, least recently used first.
// A cached page that is referenced again becomes used and keeps its cached flag, so
// its contents must not be overwritten: BlockTable copies it first.
//
// Thread rule: one thread, the engine's.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <span>
#include <vector>

#include "attention/plan.h"
#include "core/error.h"

namespace fieldprint {

class BlockPool {
 public:
  // page_count: pages on the device, 0..2^23 (what a packed page entry can name).
  explicit BlockPool(std::int32_t page_count);
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  std::int32_t page_count() const { return static_cast<std::int32_t>(pages_.size()); }
  std::int32_t free_count() const { return static_cast<std::int32_t>(free_.size()); }
  std::int32_t cached_count() const { return static_cast<std::int32_t>(lru_.size()); }
  std::int32_t used_count() const { return page_count() - free_count() - cached_count(); }
  // Pages that allocate() could hand out now: free ones and cached ones.
  std::int32_t available() const { return free_count() + cached_count(); }

  // `count` pages with one reference each: free pages first, then evicted ones.
  // All or nothing: on kv_exhausted nothing has changed, and nothing was evicted.
  Result<std::vector<PageId>> allocate(std::int32_t count);

  // References. Releasing the last one frees the page, or leaves it cached.
  void retain(PageId page);
  void release(PageId page);
  // Pins keep a page used, references or not. Used by anchors.
  void pin(PageId page);
  void unpin(PageId page);

  // Marks a used page as held by the prefix index too.
  void mark_cached(PageId page);
  // Takes the index's hold away; frees the page if nobody else holds it.
  void drop_cached(PageId page);
  // Moves a cached, unreferenced page to the young end of the eviction order.
  void touch(PageId page);
  // Called with each page that allocate() evicts, after its cached flag is gone.
  // The hook must not call back into the pool. One hook; empty to remove it.
  void set_evict_hook(std::function<void(PageId)> hook) { evict_hook_ = std::move(hook); }

  std::int32_t ref_count(PageId page) const { return state(page).refs; }
  std::int32_t pin_count(PageId page) const { return state(page).pins; }
  bool is_cached(PageId page) const { return state(page).cached; }
  // Whether a holder of one reference may write: nobody else can see the page.
  bool is_exclusive(PageId page) const;

  // The error allocate() gives, for callers that check a plan against available().
  Error exhausted_error(std::int32_t needed) const;

  // Audits free list, eviction order and counts against each other; kv_integrity if
  // they disagree. O(pages). For tests and idle engines.
  Status check_integrity() const;

 private:
  struct PageState {
    std::int32_t refs = 0;
    std::int32_t pins = 0;
    bool cached = false;
    std::list<PageId>::iterator lru;  // valid while cached and neither referenced nor pinned
  };

  const PageState& state(PageId page) const;
  PageState& state(PageId page);
  void hold_added(PageId page);    // before refs + pins leaves 0
  void hold_removed(PageId page);  // after refs + pins fell

  std::vector<PageState> pages_;
  std::vector<PageId> free_;  // stack
  std::list<PageId> lru_;     // front is evicted first
  std::function<void(PageId)> evict_hook_;
};

}  // namespace fieldprint
