// Finds KV pages that already hold the start of a prompt.
//
// Each closed page (full, or followed by another page) has a key that commits to
// everything its rows depend on:
//   key_0 = SHA-256("fieldprint-prefix-v1" | salt | seed | family | first_pos)
//   key_i = SHA-256(key_{i-1} | class | rows | first_pos | token ids)
// The salt keeps tenants apart. The seed names whatever sits in front of the context
// (anchor digest, mode, strengths): the context's K and V depend on it.
// Each entry also carries the family of its chain: whatever its rows were derived from and
// would have to go with, an anchor's digest for one. drop_family() is how revocation evicts
// every cached page behind an anchor, whoever computed it and under which salt.
// Token ids are stored and compared on a hit as well. Since layout depends only on what
// was appended (kv/block_table.h), a prompt's spans say which pages to look for.
//
// The index holds its pages through BlockPool's cached flag; the pool evicts the least
// recently used page that no sequence references, and tells the index.
//
// Thread rule: one thread, the engine's. The pool must outlive the index; one index per
// pool (it owns the pool's evict hook).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "attention/plan.h"
#include "crypto/sha256.h"
#include "kv/block_pool.h"
#include "kv/block_table.h"

namespace fieldprint {

// A run of prompt tokens of one class. Neighbours of the same class count as one run.
struct PrefixSpan {
  KvClass cls = KvClass::kUser;
  std::span<const std::int32_t> tokens;
};

// A sequence's place in the key chain: the keys of its closed pages. A value; copy it
// when a sequence forks.
class PrefixChain {
 public:
  PrefixChain() = default;
  // Pages whose key is known.
  std::int32_t pages() const { return static_cast<std::int32_t>(links_.size()); }
  // Position after the last of them.
  std::int32_t end() const { return links_.empty() ? first_pos_ : links_.back().end; }
  std::int32_t first_pos() const { return first_pos_; }
  // Forgets pages that end after `position` or, partly filled, at it. Call it with every
  // BlockTable::truncate(position).
  void truncate(std::int32_t position);

 private:
  friend class PrefixIndex;
  struct Link {
    Digest256 key;
    std::int32_t end = 0;
  };
  const Digest256& key() const { return links_.empty() ? root_ : links_.back().key; }
  Digest256 root_{};
  Digest256 family_{};
  std::int32_t first_pos_ = 0;
  std::vector<Link> links_;
};

struct PrefixMatch {
  std::vector<PageEntry> pages;  // give them to BlockTable::adopt()
  std::int32_t tokens = 0;       // rows in them
  PrefixChain chain;             // the chain after them
};

class PrefixIndex {
 public:
  explicit PrefixIndex(BlockPool& pool);
  ~PrefixIndex();  // drops all entries
  PrefixIndex(const PrefixIndex&) = delete;
  PrefixIndex& operator=(const PrefixIndex&) = delete;

  // The chain of a context whose first prompt token sits at first_pos. family: what
  // drop_family() will be asked for; empty for contexts that belong to nothing.
  static PrefixChain root(std::string_view salt, std::string_view seed, std::int32_t first_pos,
                          std::string_view family = {});

  // The longest run of cached pages that starts the prompt. Never the whole prompt: the
  // last token is always left to compute, since its logits are wanted. The pages are
  // not referenced yet: adopt() them before the pool's next allocate().
  PrefixMatch lookup(const PrefixChain& root, std::span<const PrefixSpan> spans);

  // Adds the closed pages of `table` that the chain does not know yet. Call it when
  // their rows have been computed (after a step). tokens[i] is the token at position
  // chain.first_pos() + i. A page whose key is present already is left out of the index.
  // Pages of the table before first_pos (an anchor's sink) are skipped.
  void insert_closed(PrefixChain& chain, const BlockTable& table,
                     std::span<const std::int32_t> tokens);

  // Drops the entries of one family, which must not be empty; returns how many there were.
  // Pages that nobody references become free. Chains of the family that live on would bring
  // entries back: end or clear their sequences first. O(entries).
  std::int32_t drop_family(std::string_view family);
  // Drops all entries; pages that nobody references become free.
  void clear();
  std::int32_t size() const { return static_cast<std::int32_t>(entries_.size()); }

  // Audits the index against the pool. Errors: kv_integrity.
  Status check_integrity() const;

 private:
  struct KeyHash {
    std::size_t operator()(const Digest256& key) const noexcept;
  };
  struct Entry {
    PageEntry page;
    Digest256 family{};
    std::vector<std::int32_t> tokens;
  };
  void forget(PageId page);

  BlockPool* pool_;
  std::unordered_map<Digest256, Entry, KeyHash> entries_;
  std::unordered_map<PageId, Digest256> key_of_page_;
};

}  // namespace fieldprint
