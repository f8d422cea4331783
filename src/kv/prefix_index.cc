#include "kv/prefix_index.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "core/check.h"

namespace fieldprint {
namespace {

constexpr std::string_view kDomain = "fieldprint-prefix-v1";
constexpr std::string_view kFamilyDomain = "fieldprint-prefix-family-v1";

// A fixed size in every entry. Chains without a family keep zeros, which no name hashes to.
Digest256 family_digest(std::string_view family) {
  return Sha256().update(kFamilyDomain).update(family).finish();
}

Digest256 next_key(const Digest256& previous, KvClass cls, std::int32_t first_pos,
                   std::span<const std::int32_t> tokens) {
  Sha256 hash;
  hash.update(previous);
  hash.update_u32(static_cast<std::uint32_t>(cls));
  hash.update_u32(static_cast<std::uint32_t>(tokens.size()));
  hash.update_u32(static_cast<std::uint32_t>(first_pos));
  for (const std::int32_t token : tokens) hash.update_u32(static_cast<std::uint32_t>(token));
  return hash.finish();
}

// Walks the pages that BlockTable would lay out for a prompt.
class PageWalk {
 public:
  explicit PageWalk(std::span<const PrefixSpan> spans) : spans_(spans) {}

  // Fills the next page; false at the end of the prompt.
  bool next() {
    tokens_.clear();
    while (span_ < spans_.size()) {
      const PrefixSpan& span = spans_[span_];
      if (offset_ == span.tokens.size()) {
        ++span_;
        offset_ = 0;
        continue;
      }
      if (!tokens_.empty() && span.cls != cls_) break;
      cls_ = span.cls;
      const std::size_t room = static_cast<std::size_t>(kPageRows) - tokens_.size();
      const auto part =
          span.tokens.subspan(offset_).first(std::min(room, span.tokens.size() - offset_));
      tokens_.insert(tokens_.end(), part.begin(), part.end());
      offset_ += part.size();
      if (tokens_.size() == static_cast<std::size_t>(kPageRows)) break;
    }
    return !tokens_.empty();
  }
  KvClass cls() const { return cls_; }
  std::span<const std::int32_t> tokens() const { return tokens_; }

 private:
  std::span<const PrefixSpan> spans_;
  std::size_t span_ = 0;
  std::size_t offset_ = 0;
  KvClass cls_ = KvClass::kUser;
  std::vector<std::int32_t> tokens_;
};

tl::unexpected<Error> broken(std::string what) {
  return fail(ErrorKind::kInternal, "kv_integrity", "prefix index: " + std::move(what));
}

}  // namespace

void PrefixChain::truncate(std::int32_t position) {
  while (!links_.empty()) {
    const std::int32_t start = links_.size() > 1 ? links_[links_.size() - 2].end : first_pos_;
    const std::int32_t end = links_.back().end;
    // A partly filled page that ends here is open again: the next row may go into it.
    const bool reopened = end == position && end - start < kPageRows;
    if (end <= position && !reopened) return;
    links_.pop_back();
  }
}

std::size_t PrefixIndex::KeyHash::operator()(const Digest256& key) const noexcept {
  std::size_t value = 0;
  std::memcpy(&value, key.data(), sizeof(value));
  return value;
}

PrefixIndex::PrefixIndex(BlockPool& pool) : pool_(&pool) {
  pool_->set_evict_hook([this](PageId page) { forget(page); });
}

PrefixIndex::~PrefixIndex() {
  clear();
  pool_->set_evict_hook({});
}

void PrefixIndex::forget(PageId page) {
  const auto key = key_of_page_.find(page);
  FP_CHECK(key != key_of_page_.end());
  entries_.erase(key->second);
  key_of_page_.erase(key);
}

void PrefixIndex::clear() {
  for (const auto& [page, key] : key_of_page_) pool_->drop_cached(page);
  entries_.clear();
  key_of_page_.clear();
}

std::int32_t PrefixIndex::drop_family(std::string_view family) {
  FP_CHECK(!family.empty());
  const Digest256 wanted = family_digest(family);
  std::int32_t dropped = 0;
  for (auto it = entries_.begin(); it != entries_.end();) {
    if (it->second.family != wanted) {
      ++it;
      continue;
    }
    const PageId page = it->second.page.page;
    key_of_page_.erase(page);
    it = entries_.erase(it);
    pool_->drop_cached(page);
    ++dropped;
  }
  return dropped;
}

PrefixChain PrefixIndex::root(std::string_view salt, std::string_view seed, std::int32_t first_pos,
                              std::string_view family) {
  PrefixChain chain;
  Sha256 hash;
  // Lengths first, so that no two (salt, seed, family) give the same bytes.
  hash.update(kDomain).update_u64(salt.size()).update(salt).update_u64(seed.size()).update(seed);
  hash.update_u64(family.size()).update(family);  // so that an entry has one family only
  chain.root_ = hash.update_u32(static_cast<std::uint32_t>(first_pos)).finish();
  chain.first_pos_ = first_pos;
  if (!family.empty()) chain.family_ = family_digest(family);
  return chain;
}

PrefixMatch PrefixIndex::lookup(const PrefixChain& root, std::span<const PrefixSpan> spans) {
  FP_CHECK(root.pages() == 0);
  std::size_t total = 0;
  for (const PrefixSpan& span : spans) total += span.tokens.size();
  PrefixMatch match;
  match.chain = root;
  PageWalk walk(spans);
  while (walk.next()) {
    const auto rows = static_cast<std::int32_t>(walk.tokens().size());
    if (static_cast<std::size_t>(match.tokens + rows) >= total) break;  // keep the last token
    const std::int32_t position = match.chain.end();
    const Digest256 key = next_key(match.chain.key(), walk.cls(), position, walk.tokens());
    const auto found = entries_.find(key);
    if (found == entries_.end()) break;
    const Entry& entry = found->second;
    if (!std::ranges::equal(entry.tokens, walk.tokens())) break;
    FP_CHECK(entry.page.cls == walk.cls() && entry.page.first_pos == position);
    match.pages.push_back(entry.page);
    match.tokens += rows;
    match.chain.links_.push_back({key, position + rows});
  }
  // Youngest first in the end: the start of a prefix outlives its continuations.
  for (auto page = match.pages.rbegin(); page != match.pages.rend(); ++page) {
    pool_->touch(page->page);
  }
  return match;
}

void PrefixIndex::insert_closed(PrefixChain& chain, const BlockTable& table,
                                std::span<const std::int32_t> tokens) {
  const std::span<const PageEntry> pages = table.page_entries();
  const auto first = std::ranges::partition_point(
      pages, [&](const PageEntry& entry) { return entry.first_pos < chain.end(); });
  for (auto it = first; it != pages.end(); ++it) {
    const PageEntry& entry = *it;
    const bool closed = entry.rows == kPageRows || it + 1 != pages.end();
    if (!closed) break;
    FP_CHECK(entry.first_pos == chain.end());
    const auto offset = static_cast<std::size_t>(entry.first_pos - chain.first_pos_);
    FP_CHECK(offset + entry.rows <= tokens.size());
    const auto page_tokens = tokens.subspan(offset, entry.rows);
    const Digest256 key = next_key(chain.key(), entry.cls, entry.first_pos, page_tokens);
    chain.links_.push_back({key, entry.first_pos + entry.rows});
    // One entry a page: a page that is cached under another key (it was rewound, then
    // closed shorter) stays there.
    if (entries_.contains(key) || pool_->is_cached(entry.page)) continue;
    pool_->mark_cached(entry.page);
    entries_.emplace(key, Entry{entry, chain.family_, {page_tokens.begin(), page_tokens.end()}});
    key_of_page_.emplace(entry.page, key);
  }
}

Status PrefixIndex::check_integrity() const {
  if (entries_.size() != key_of_page_.size()) return broken("entry and page counts differ");
  for (const auto& [page, key] : key_of_page_) {
    const auto entry = entries_.find(key);
    if (entry == entries_.end() || entry->second.page.page != page) {
      return broken("page " + std::to_string(page) + " has no entry of its own");
    }
    if (!pool_->is_cached(page)) return broken("page " + std::to_string(page) + " is not cached");
  }
  std::size_t cached = 0;
  for (PageId page = 0; page < pool_->page_count(); ++page) cached += pool_->is_cached(page);
  if (cached != entries_.size()) return broken("the pool holds cached pages without an entry");
  return {};
}

}  // namespace fieldprint
