#include "engine/anchor_front.h"

#include <utility>

#include "core/check.h"

namespace fieldprint {

const char* revocation_policy_name(RevocationPolicy policy) {
  switch (policy) {
    case RevocationPolicy::kEnd:
      return "end";
    case RevocationPolicy::kReanchor:
      return "reanchor";
  }
  FP_UNREACHABLE();
}

Error anchor_revoked_error(const std::string& digest) {
  return {ErrorKind::kForbidden,
          "anchor_revoked",
          "anchor " + digest +
              " was revoked and may not stand in front of a conversation; serve another "
              "promoted anchor",
          {}};
}

Status scrub_rows(const AnchorInFront& anchor, Runner& runner) {
  const ModelConfig& config = runner.config();
  Status first_failure;
  const auto scrub = [&](const PageEntry& entry) {
    const auto elements = static_cast<std::size_t>(config.kv_heads) *
                          static_cast<std::size_t>(entry.rows) *
                          static_cast<std::size_t>(config.head_dim);
    PageRows zeros;
    zeros.k.assign(elements, 0);
    zeros.v.assign(elements, 0);
    for (int layer = 0; layer < config.layers; ++layer) {
      // On an error the others are overwritten all the same.
      const Status written = runner.write_page(layer, entry.page, entry.rows, zeros);
      if (!written && first_failure) first_failure = written;
    }
  };
  scrub(anchor.sink);
  for (const PageEntry& entry : anchor.view.pages) scrub(entry);
  return first_failure;
}

void AnchorDoor::open(Front front) {
  const std::lock_guard lock(mutex_);
  if (!front_.digest.empty()) last_ = front_.digest;
  front_ = std::move(front);
}

void AnchorDoor::revoke(const std::string& digest, const Error& reason) {
  const std::lock_guard lock(mutex_);
  revoked_.emplace(digest, reason);
}

Status AnchorDoor::check(const std::string& digest) const {
  const std::lock_guard lock(mutex_);
  const auto found = revoked_.find(digest);
  if (found != revoked_.end()) return tl::unexpected(found->second);
  return {};
}

Result<AnchorDoor::Front> AnchorDoor::enter() const {
  const std::lock_guard lock(mutex_);
  if (front_.number == 0) return front_;
  const auto found = revoked_.find(front_.digest.empty() ? last_ : front_.digest);
  if (found != revoked_.end()) return tl::unexpected(found->second);
  FP_CHECK(!front_.digest.empty());  // it goes only by being revoked
  return front_;
}

AnchorDoor::Front AnchorDoor::front() const {
  const std::lock_guard lock(mutex_);
  return front_;
}

AnchorState AnchorDoor::state() const {
  const std::lock_guard lock(mutex_);
  AnchorState state;
  const bool shut = revoked_.contains(front_.digest);
  if (!shut) state.digest = front_.digest;
  state.refusing = front_.number != 0 && state.digest.empty();
  for (const auto& [digest, reason] : revoked_) state.revoked.push_back(digest);
  return state;
}

}  // namespace fieldprint
