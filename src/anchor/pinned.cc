#include "anchor/pinned.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "anchor/document.h"
#include "core/check.h"
#include "kv/block_table.h"

namespace fieldprint {
namespace {

tl::unexpected<Error> bad_policy(std::string what, std::string param) {
  return fail(ErrorKind::kInvalid, "anchor_mode_invalid", std::move(what), std::move(param));
}

Status check_shape(const AnchorArtifact& artifact, const ModelConfig& config) {
  if (artifact.layers != config.layers || artifact.kv_heads != config.kv_heads ||
      artifact.head_dim != config.head_dim) {
    const auto text = [](std::int32_t layers, std::int32_t heads, std::int32_t dim) {
      return std::to_string(layers) + " layers, " + std::to_string(heads) + " KV heads of " +
             std::to_string(dim);
    };
    return fail(ErrorKind::kInvalid, "anchor_model_mismatch",
                "anchor '" + artifact.name + "' has " +
                    text(artifact.layers, artifact.kv_heads, artifact.head_dim) +
                    ", the model has " + text(config.layers, config.kv_heads, config.head_dim) +
                    "; compile the anchor for this model",
                "anchor");
  }
  if (artifact.digest.empty() || artifact.length() < kAnchorMinTokens ||
      artifact.k.size() != anchor_kv_elements(artifact) || artifact.v.size() != artifact.k.size() ||
      artifact.beta_fit.size() != anchor_beta_elements(artifact)) {
    return fail(ErrorKind::kCorrupt, "anchor_corrupt",
                "anchor '" + artifact.name + "' has no digest, or not the rows it states");
  }
  return {};
}

// Rows first..first+rows-1 of the artifact as one page of one layer.
PageRows page_rows(const AnchorArtifact& artifact, int layer, const PageEntry& entry) {
  PageRows page;
  const auto dim = static_cast<std::size_t>(artifact.head_dim);
  for (std::int32_t head = 0; head < artifact.kv_heads; ++head) {
    const std::size_t row =
        static_cast<std::size_t>(layer * artifact.kv_heads + head) * artifact.tokens.size() +
        static_cast<std::size_t>(entry.first_pos);
    const auto from = static_cast<std::ptrdiff_t>(row * dim);
    const auto to = from + static_cast<std::ptrdiff_t>(entry.rows * dim);
    page.k.insert(page.k.end(), artifact.k.begin() + from, artifact.k.begin() + to);
    page.v.insert(page.v.end(), artifact.v.begin() + from, artifact.v.begin() + to);
  }
  return page;
}

}  // namespace

Status validate(const AnchorPolicy& policy) {
  const auto within = [](float value, float low, float high) {
    return value >= low && value <= high;  // false for NaN
  };
  if (!within(policy.beta_policy, -kAnchorMaxBetaPolicy, kAnchorMaxBetaPolicy)) {
    return bad_policy("beta must be between -20 and 20", "beta");
  }
  switch (policy.mode) {
    case AnchorMode::kJoint:
      return {};
    case AnchorMode::kGated:
      if (within(policy.gamma, 0.0F, 1.0F)) return {};
      return bad_policy("gamma must be between 0 and 1", "gamma");
    case AnchorMode::kFloored:
      if (within(policy.psi, 0.0F, 1.0F) && policy.psi < 1.0F) return {};
      return bad_policy("psi must be at least 0 and below 1", "psi");
  }
  return bad_policy("the anchor mode is unknown", "mode");
}

Result<std::unique_ptr<PinnedAnchor>> PinnedAnchor::load(const AnchorArtifact& artifact,
                                                         const AnchorPolicy& policy,
                                                         std::string_view model_digest,
                                                         Runner& runner, BlockPool& pool) {
  if (artifact.model_digest != model_digest) {
    return fail(ErrorKind::kInvalid, "anchor_model_mismatch",
                "anchor '" + artifact.name + "' was compiled for model " + artifact.model_digest +
                    ", this one is " + std::string(model_digest) + "; compile it again",
                "anchor");
  }
  return load(artifact, policy, runner, pool);
}

Result<std::unique_ptr<PinnedAnchor>> PinnedAnchor::load(const AnchorArtifact& artifact,
                                                         const AnchorPolicy& policy, Runner& runner,
                                                         BlockPool& pool) {
  FP_TRY(validate(policy));
  FP_TRY(check_shape(artifact, runner.config()));
  std::unique_ptr<PinnedAnchor> pinned(new PinnedAnchor(pool));
  FP_TRY(pinned->take_pages(artifact.length()));
  FP_TRY(pinned->write_rows(artifact, runner));
  pinned->set_policy(artifact, policy, runner.config().heads);
  return pinned;
}

Status PinnedAnchor::take_pages(std::int32_t length) {
  // The layout is a block table's, so that it is the one the rows were compiled in.
  BlockTable context(*pool_);
  BlockTable anchor(*pool_, 1);
  FP_TRY(context.commit(KvClass::kSink, 1));
  FP_TRY(anchor.commit(KvClass::kAnchor, length - 1));
  length_ = length;
  sink_ = context.page_entries().front();
  pages_.assign(anchor.page_entries().begin(), anchor.page_entries().end());
  leaves_.assign(anchor.leaves().begin(), anchor.leaves().end());
  // Pins alone hold the pages from here on; the tables' references end with them.
  pool_->pin(sink_.page);
  for (const PageEntry& entry : pages_) pool_->pin(entry.page);
  return {};
}

Status PinnedAnchor::write_rows(const AnchorArtifact& artifact, Runner& runner) const {
  for (int layer = 0; layer < artifact.layers; ++layer) {
    FP_TRY(runner.write_page(layer, sink_.page, sink_.rows, page_rows(artifact, layer, sink_)));
    for (const PageEntry& entry : pages_) {
      FP_TRY(runner.write_page(layer, entry.page, entry.rows, page_rows(artifact, layer, entry)));
    }
  }
  return {};
}

void PinnedAnchor::set_policy(const AnchorArtifact& artifact, const AnchorPolicy& policy,
                              std::int32_t heads) {
  policy_ = policy;
  const auto stride = pages_.size() * kPageRows;
  const auto rows = artifact.tokens.size();
  const auto lists =
      static_cast<std::size_t>(artifact.layers) * static_cast<std::size_t>(artifact.kv_heads);
  std::vector<float> beta(lists * stride, 0.0F);
  for (std::size_t list = 0; list < lists; ++list) {
    // Slot s holds row s + 1; row 0 is the sink and never gets a bias.
    for (std::size_t row = 1; row < rows; ++row) {
      beta[list * stride + row - 1] = artifact.beta_fit[list * rows + row] + policy.beta_policy;
    }
  }
  if (std::ranges::any_of(beta, [](float value) { return value != 0.0F; })) {
    beta_ = std::move(beta);
  }
  if (policy.mode == AnchorMode::kGated) {
    gamma_.assign(static_cast<std::size_t>(artifact.layers) * static_cast<std::size_t>(heads),
                  policy.gamma);
  }
  seed_ = artifact.digest;
  for (const std::uint32_t part :
       {static_cast<std::uint32_t>(policy.mode), std::bit_cast<std::uint32_t>(policy.gamma),
        std::bit_cast<std::uint32_t>(policy.psi),
        std::bit_cast<std::uint32_t>(policy.beta_policy)}) {
    seed_ += "/" + std::to_string(part);
  }
}

PinnedAnchor::~PinnedAnchor() {
  if (length_ == 0) return;  // load() failed before it had pages
  pool_->unpin(sink_.page);
  for (const PageEntry& entry : pages_) pool_->unpin(entry.page);
}

AnchorView PinnedAnchor::view() const {
  AnchorView view;
  view.pages = pages_;
  view.leaves = leaves_;
  view.beta = beta_.empty() ? nullptr : beta_.data();
  view.beta_stride = static_cast<std::int32_t>(pages_.size()) * kPageRows;
  view.mode = policy_.mode;
  view.gamma = gamma_.empty() ? nullptr : gamma_.data();
  view.psi = policy_.mode == AnchorMode::kFloored ? policy_.psi : 0.0F;
  return view;
}

}  // namespace fieldprint
