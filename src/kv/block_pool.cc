#include "kv/block_pool.h"

#include <utility>

#include "core/check.h"

namespace fieldprint {
namespace {

constexpr std::int32_t kMaxPages = std::int32_t{1} << 23;

tl::unexpected<Error> broken(std::string what) {
  return fail(ErrorKind::kInternal, "kv_integrity", "KV pool: " + std::move(what));
}

}  // namespace

BlockPool::BlockPool(std::int32_t page_count) {
  FP_CHECK(page_count >= 0 && page_count <= kMaxPages);
  pages_.resize(static_cast<std::size_t>(page_count));
  free_.reserve(pages_.size());
  // Low numbers on top: small runs touch few pages of device memory.
  for (PageId page = page_count - 1; page >= 0; --page) free_.push_back(page);
}

const BlockPool::PageState& BlockPool::state(PageId page) const {
  FP_CHECK(page >= 0 && page < page_count());
  return pages_[static_cast<std::size_t>(page)];
}

BlockPool::PageState& BlockPool::state(PageId page) {
  return const_cast<PageState&>(std::as_const(*this).state(page));
}

Error BlockPool::exhausted_error(std::int32_t needed) const {
  return Error{ErrorKind::kExhausted, "kv_exhausted",
               "KV cache is full: " + std::to_string(needed) + " more pages of " +
                   std::to_string(kPageRows) + " tokens needed, " + std::to_string(available()) +
                   " of " + std::to_string(page_count()) +
                   " free; raise --kv-tokens or send less at once",
               "--kv-tokens"};
}

Result<std::vector<PageId>> BlockPool::allocate(std::int32_t count) {
  FP_CHECK(count >= 0);
  if (count > available()) return tl::unexpected(exhausted_error(count));
  std::vector<PageId> taken;
  taken.reserve(static_cast<std::size_t>(count));
  while (static_cast<std::int32_t>(taken.size()) < count) {
    PageId page = kNoPage;
    if (!free_.empty()) {
      page = free_.back();
      free_.pop_back();
    } else {
      page = lru_.front();
      lru_.pop_front();
      state(page).cached = false;
      if (evict_hook_) evict_hook_(page);
    }
    PageState& taken_state = state(page);
    FP_CHECK(taken_state.refs == 0 && taken_state.pins == 0 && !taken_state.cached);
    taken_state.refs = 1;
    taken.push_back(page);
  }
  return taken;
}

void BlockPool::hold_added(PageId page) {
  PageState& s = state(page);
  if (s.refs + s.pins > 0) return;
  FP_CHECK(s.cached);  // a free page belongs to nobody; allocate() is the way to get it
  lru_.erase(s.lru);
}

void BlockPool::hold_removed(PageId page) {
  PageState& s = state(page);
  if (s.refs + s.pins > 0) return;
  if (s.cached) {
    s.lru = lru_.insert(lru_.end(), page);
  } else {
    free_.push_back(page);
  }
}

void BlockPool::retain(PageId page) {
  hold_added(page);
  ++state(page).refs;
}

void BlockPool::release(PageId page) {
  FP_CHECK(state(page).refs > 0);
  --state(page).refs;
  hold_removed(page);
}

void BlockPool::pin(PageId page) {
  hold_added(page);
  ++state(page).pins;
}

void BlockPool::unpin(PageId page) {
  FP_CHECK(state(page).pins > 0);
  --state(page).pins;
  hold_removed(page);
}

void BlockPool::mark_cached(PageId page) {
  PageState& s = state(page);
  FP_CHECK(s.refs + s.pins > 0 && !s.cached);
  s.cached = true;
}

void BlockPool::drop_cached(PageId page) {
  PageState& s = state(page);
  FP_CHECK(s.cached);
  s.cached = false;
  if (s.refs + s.pins > 0) return;
  lru_.erase(s.lru);
  free_.push_back(page);
}

void BlockPool::touch(PageId page) {
  PageState& s = state(page);
  if (!s.cached || s.refs + s.pins > 0) return;
  lru_.splice(lru_.end(), lru_, s.lru);
}

bool BlockPool::is_exclusive(PageId page) const {
  const PageState& s = state(page);
  return s.refs == 1 && s.pins == 0 && !s.cached;
}

Status BlockPool::check_integrity() const {
  std::vector<int> seen(pages_.size(), 0);
  for (const PageId page : free_) {
    const PageState& s = state(page);
    if (s.refs != 0 || s.pins != 0 || s.cached) {
      return broken("free page " + std::to_string(page) + " is held");
    }
    ++seen[static_cast<std::size_t>(page)];
  }
  for (auto it = lru_.begin(); it != lru_.end(); ++it) {
    const PageState& s = state(*it);
    if (s.refs != 0 || s.pins != 0 || !s.cached || s.lru != it) {
      return broken("evictable page " + std::to_string(*it) + " is held or not cached");
    }
    ++seen[static_cast<std::size_t>(*it)];
  }
  for (std::size_t page = 0; page < pages_.size(); ++page) {
    const PageState& s = pages_[page];
    if (s.refs < 0 || s.pins < 0) return broken("negative count on page " + std::to_string(page));
    const int expected = s.refs + s.pins > 0 ? 0 : 1;
    if (seen[page] != expected) {
      return broken("page " + std::to_string(page) + " is listed " + std::to_string(seen[page]) +
                    " times, expected " + std::to_string(expected));
    }
  }
  return {};
}

}  // namespace fieldprint
