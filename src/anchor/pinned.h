// An anchor in a runner's KV memory, ready to stand in front of sequences.
//
// Layout: row 0 in a page of its own, class sink, for the context partition (its own
// leaf, leaves_before_anchor = 1); rows 1..T-1 in anchor pages at their own positions. A
// sequence adopts sink(), skips to length() and puts its first token there.
//
// Thread rule: the engine's thread. The pool must outlive the object; the runner's pages
// keep the rows as long as the object lives.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "anchor/artifact.h"
#include "attention/plan.h"
#include "kv/block_pool.h"
#include "runner/runner.h"

namespace fieldprint {

// How strongly the anchor's rows count. Only the mode's own parameter is used.
struct AnchorPolicy {
  AnchorMode mode = AnchorMode::kJoint;
  float gamma = 0.0F;        // gated: share of the output, every head; [0,1]
  float psi = 0.0F;          // floored: least weight, [0,1)
  float beta_policy = 0.0F;  // added to beta_fit of every anchor row; [-20,20]
};
inline constexpr float kAnchorMaxBetaPolicy = 20.0F;

// Errors: anchor_mode_invalid (a parameter of the mode is out of range).
Status validate(const AnchorPolicy& policy);

class PinnedAnchor {
 public:
  // Writes the rows and pins their pages. model_digest: the loaded model's, compared with
  // the artifact's. Errors: anchor_model_mismatch (digest or shape), anchor_mode_invalid,
  // anchor_corrupt (rows do not have the stated shape, or no digest), kv_exhausted, those
  // of the runner. On error no page stays taken.
  static Result<std::unique_ptr<PinnedAnchor>> load(const AnchorArtifact& artifact,
                                                    const AnchorPolicy& policy,
                                                    std::string_view model_digest, Runner& runner,
                                                    BlockPool& pool);
  // For callers that have compared the digests already (or have none).
  static Result<std::unique_ptr<PinnedAnchor>> load(const AnchorArtifact& artifact,
                                                    const AnchorPolicy& policy, Runner& runner,
                                                    BlockPool& pool);
  ~PinnedAnchor();  // unpins; pages that no sequence shares become free
  PinnedAnchor(const PinnedAnchor&) = delete;
  PinnedAnchor& operator=(const PinnedAnchor&) = delete;

  std::int32_t length() const { return length_; }  // T, the first free position
  const PageEntry& sink() const { return sink_; }  // 1 row at position 0
  AnchorView view() const;                         // valid as long as the object
  const std::string& cache_seed() const {
    return seed_;
  }  // names rows and policy: for
     // PrefixIndex::root()

 private:
  explicit PinnedAnchor(BlockPool& pool) : pool_(&pool) {}
  Status take_pages(std::int32_t length);
  Status write_rows(const AnchorArtifact& artifact, Runner& runner) const;
  void set_policy(const AnchorArtifact& artifact, const AnchorPolicy& policy, std::int32_t heads);

  BlockPool* pool_;
  std::int32_t length_ = 0;
  PageEntry sink_;
  std::vector<PageEntry> pages_;
  std::vector<Leaf> leaves_;
  AnchorPolicy policy_;
  std::vector<float> beta_;   // empty: all 0
  std::vector<float> gamma_;  // [layers * heads] in gated mode
  std::string seed_;
};

}  // namespace fieldprint
